"""The value behind ``H`` in a cron expression."""

import hashlib


def spread(key: str, field: str, size: int) -> int:
    """Return a number from 0 to ``size - 1`` that depends on ``key`` and ``field`` only.

    The same on every machine and in every version: changing it moves users' jobs.
    """
    digest = hashlib.sha256(f"{key}\0{field}".encode()).digest()
    return int.from_bytes(digest[:8], "big") % size
