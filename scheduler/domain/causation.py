"""How many runs, one after the other, led to an event: what goes along with what jobs send, and comes back with it.

Ends of runs are counted in rows. What a job sends, as a message or a request, leaves the scheduler; if it comes back
as an event, it says by a header how long the chain is, so that a chain that starts itself ends all the same.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

DEPTH_HEADER: Final = "x-scheduler-depth"
_DEPTH: Final = re.compile(r"[0-9]{1,4}")


def depth_of(headers: Mapping[str, Any] | None) -> int:
    """Return the depth that a sender says; 0 where it says none, or nonsense."""
    said = (headers or {}).get(DEPTH_HEADER)
    return int(said) if isinstance(said, str) and _DEPTH.fullmatch(said) else 0


def depth_as_header(headers: Mapping[str, str]) -> dict[str, str]:
    """Return what is kept of how long a request says that its chain is: a mapping with it, or an empty one."""
    depth = depth_of(headers)
    return {DEPTH_HEADER: str(depth)} if depth else {}
