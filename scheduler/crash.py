"""Named points at which a process kills itself, for tests of what a crash leaves behind.

``CRASH_AT=executor.after_grant`` ends the process by SIGKILL when it first comes to that
point, ``CRASH_AT=executor.after_grant:3`` when it comes there the third time. A point that
many things pass has a detail: ``CRASH_AT=publisher.after_write@attempt.claim``. The variable is
read once, when this module is imported; without it a point costs one comparison.
"""

import os
import signal
from typing import Final

_PLACE, _, _TIMES = os.environ.get("CRASH_AT", "").partition(":")
_NAME, _, _DETAIL = _PLACE.partition("@")
CRASH_AT: Final = _NAME
_passes_left = int(_TIMES or 1)


def crash_point(name: str, detail: str = "") -> None:
    """Kill this process if ``name`` is where it is to end, and ``detail`` what it is to end with."""
    if name == CRASH_AT and detail == _DETAIL:
        _pass()


def _pass() -> None:
    global _passes_left  # noqa: PLW0603 - counts over the whole process
    _passes_left -= 1
    if _passes_left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
