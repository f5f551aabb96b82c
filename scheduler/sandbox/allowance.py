"""How much of its machine this process may use: the cgroup of a container or of a systemd unit may allow it less."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from scheduler.sandbox.means import SELF, folder_of

_MEMORY: Final = ("memory.max", "memory.limit_in_bytes")
_CORES: Final = (("cpu.max",), ("cpu.cfs_quota_us", "cpu.cfs_period_us"))


def usable_memory(proc: Path = SELF) -> int:
    """Return bytes: those of the machine, or the least that a cgroup of this process, or one above it, allows."""
    allowed = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    for folder in _cgroups(proc, "memory"):
        allowed += [int(words[0]) for name in _MEMORY if (words := _words(folder / name)) and words[0].isdecimal()]
    return min(allowed)


def usable_cores(proc: Path = SELF) -> float:
    """Return cores: those that this process may run on, or the least share of them that such a cgroup allows."""
    allowed = [float(len(os.sched_getaffinity(0)))]
    for folder in _cgroups(proc, "cpu"):
        for names in _CORES:
            words = [word for name in names for word in _words(folder / name)]
            if len(words) == len(("quota", "period")) and all(word.isdecimal() for word in words):
                allowed.append(int(words[0]) / int(words[1]))
    return min(allowed)


def _cgroups(proc: Path, controller: str) -> Iterator[Path]:
    for kind in ("cgroup2", "cgroup1"):
        folder = folder_of(proc, kind, controller)
        while folder is not None and (folder / "cgroup.procs").exists():
            yield folder
            folder = folder.parent


def _words(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="ascii").split()
    except OSError:
        return []
