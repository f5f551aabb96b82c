"""Folders as they are: what lies in them, and who says that something changed."""
