"""What processes cost, read from ``/proc``: CPU seconds and memory."""

import os
from pathlib import Path
from typing import Final

_TICK_S: Final = 1 / os.sysconf("SC_CLK_TCK")
_USER, _SYSTEM, _REAPED_USER, _REAPED_SYSTEM = 11, 12, 13, 14
"""Fields of ``/proc/<pid>/stat`` behind the command's name."""


def cpu_s(pid: int) -> float:
    """Return the CPU seconds of one process with its threads and without its children."""
    return _ticks(pid, _USER, _SYSTEM) * _TICK_S


def tree_cpu_s(pid: int) -> float:
    """Return the CPU seconds of a process and of all its descendants, those that have ended included."""
    every = (_USER, _SYSTEM, _REAPED_USER, _REAPED_SYSTEM)
    return sum(_ticks(each, *every) for each in _tree(pid)) * _TICK_S


def machine_busy_s() -> float:
    """Return the seconds that the processors of this machine have been busy with any process."""
    user, nice, system, _idle, _waiting, *interrupts = Path("/proc/stat").read_text(encoding="ascii").split()[1:8]
    return sum(map(int, (user, nice, system, *interrupts))) * _TICK_S


def rss_mb(pid: int) -> float:
    """Return the resident memory of one process, shared pages counted in full."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:")) / 1024


def pss_mb(pid: int) -> float:
    """Return the memory of one process, shared pages by share.

    Where the process may not be looked into (an executor hides from others unless root asks), the
    resident size, which is larger.
    """
    try:
        lines, field = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii"), "Pss:"
    except OSError:
        lines, field = Path(f"/proc/{pid}/status").read_text(encoding="utf-8"), "VmRSS:"
    return next(int(line.split()[1]) for line in lines.splitlines() if line.startswith(field)) / 1024


def tree_pss_mb(pid: int) -> float:
    """Return the memory of a process and all its living descendants."""
    return sum(pss_mb(each) for each in _tree(pid))


def _ticks(pid: int, *fields: int) -> int:
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:  # ended meanwhile: its parent has it among the reaped
        return 0
    values = text.rpartition(") ")[2].split()
    return sum(int(values[field]) for field in fields)


def _tree(pid: int) -> list[int]:
    found, todo = [], [pid]
    while todo:
        each = todo.pop()
        found.append(each)
        for listing in Path(f"/proc/{each}/task").glob("*/children"):
            try:
                todo += map(int, listing.read_text(encoding="ascii").split())
            except OSError:  # the thread ended meanwhile
                continue
    return found
