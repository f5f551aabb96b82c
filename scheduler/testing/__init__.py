"""For users' own tests: their jobs under a virtual clock, without services, by the rules of the running system.

``scheduler.py`` is the door.
"""
