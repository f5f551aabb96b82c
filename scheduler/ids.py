"""Identifiers: UUID version 7 (RFC 9562) made here, so that rows sort by the time they were made.

Random bits come from the operating system: two processes never share a sequence.
"""

import os
from datetime import datetime
from uuid import UUID

from scheduler.clock import Clock

_VERSION = 0x7 << 76
_VARIANT = 0x2 << 62


def uuid7(clock: Clock) -> UUID:
    """Return a new id whose first 48 bits are the milliseconds of ``clock.now()``."""
    milliseconds = int(clock.now().timestamp() * 1000)
    noise = int.from_bytes(os.urandom(10), "big")
    rand_a = noise >> 68
    rand_b = noise & ((1 << 62) - 1)
    return UUID(int=(milliseconds << 80) | _VERSION | (rand_a & 0xFFF) << 64 | _VARIANT | rand_b)


def first_id(instant: datetime) -> UUID:
    """Return the least id that is made at ``instant`` or later."""
    return UUID(int=(int(instant.timestamp() * 1000) << 80) | _VERSION | _VARIANT)
