"""Resource limits in words: those for a warden, and those for people when one was exceeded."""

import signal
from pathlib import Path
from typing import Any, Final

from scheduler.ports import Ended
from scheduler.sandbox.means import Means
from schemas.sizes import format_size
from schemas.work import ResourceLimits

_SHELLS_WORD: Final = 128
"""A shell ends with this and the number of the signal that ended its command."""


def limit_words(resources: ResourceLimits, means: Means, folder: Path) -> dict[str, Any]:
    """Return what a warden is told; ``folder`` is the attempt's own."""
    return {
        "memory": resources.memory_bytes,
        "cpu": resources.cpu,
        "pids": resources.pids,
        "file_size": resources.file_bytes,
        "disk": resources.disk_bytes,
        "folder": str(folder),
        "io": resources.io,
        "means": means.kind,
        "folders": dict(means.folders),
    }


def exceeded(resources: ResourceLimits, which: str | None, ended: Ended) -> str | None:
    """Return why the attempt is out of its limits: what its warden says, or the signal that ended it."""
    if which == "memory" and resources.memory_bytes is not None:
        return f"killed: it used more memory than resources.memory allows, {format_size(resources.memory_bytes)}"
    if which == "pids":
        return f"killed: it had more processes than resources.pids allows, {resources.pids}"
    if which == "disk" and resources.disk_bytes is not None:
        return f"killed: it kept more in its folder than resources.disk allows, {format_size(resources.disk_bytes)}"
    by_file_size = ended.signal == signal.SIGXFSZ or ended.exit_code == _SHELLS_WORD + signal.SIGXFSZ
    if by_file_size and resources.file_bytes is not None:
        return f"it wrote a file larger than resources.file_size allows, {format_size(resources.file_bytes)}"
    return None
