"""Talks to a scheduler from a program: over its database, as the command line does, and with the same functions.

``client.py`` is the door; ``sync.py`` is the same for programs without a loop.
"""
