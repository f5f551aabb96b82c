"""What really runs a job: child processes, HTTP requests and handlers, under limits of time and size.

Read ``runner.py`` first; it is the door. ``launcher.py`` and ``child.py`` run in processes of their own.
"""
