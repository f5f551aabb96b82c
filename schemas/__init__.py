"""The wire contract: every message and the definitions file, and nothing that does anything."""
