"""Identifiers: UUID version 7 (RFC 9562) made here, so that rows sort by the time they were made.

Those of one process sort by the order in which they were made, also within a millisecond: runs wait in
line by their ids. A clock that is set back takes the ids back with it, until it is where it was: then only their
order is lost. Random bits come from the operating system: two processes never share a sequence.
"""

import os
from datetime import datetime
from typing import Final
from uuid import UUID

from scheduler.clock import Clock

_VERSION: Final = 0x7 << 76
_VARIANT: Final = 0x2 << 62
_FIRST: Final = (1 << 73) - 1
"""Of 74 random bits, so that the first id of a millisecond leaves half of the numbers to those that follow."""
_STEP: Final = (1 << 40) - 1
_LOW: Final = (1 << 62) - 1
_last: Final = [0, 0]
"""Milliseconds and random bits of the last id. Threads that ask at once may get theirs in any order, not the same."""


def uuid7(clock: Clock) -> UUID:
    """Return a new id whose first 48 bits are the milliseconds of ``clock.now()``."""
    milliseconds = int(clock.now().timestamp() * 1000)
    noise = int.from_bytes(os.urandom(10), "big")
    before, bits = _last
    bits = bits + 1 + (noise & _STEP) if before == milliseconds else noise & _FIRST
    _last[:] = milliseconds, bits
    return UUID(int=milliseconds << 80 | _VERSION | bits >> 62 << 64 | _VARIANT | bits & _LOW)


def first_id(instant: datetime) -> UUID:
    """Return the least id that is made at ``instant`` or later."""
    return UUID(int=(int(instant.timestamp() * 1000) << 80) | _VERSION | _VARIANT)
