"""Definitions files: from text with positions to a set of valid jobs, and back."""
