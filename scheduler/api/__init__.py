"""The HTTP interface: ``make_app`` in ``app.py`` puts it together. Nothing here is imported before it is served."""
