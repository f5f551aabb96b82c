"""Jobs written in Python: the decorator, the words it takes, and how the functions are imported and called.

Users import these names from ``scheduler``. Only the standard library is imported here, so that a
python child, which imports the user's module, starts fast.
"""
