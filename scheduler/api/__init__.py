"""The HTTP interface: ``make_front`` in ``app.py`` puts it together. Nothing here is imported before it is served."""
