"""Resource limits where no cgroup can be had: the warden looks at its processes five times a second.

Weaker than a cgroup: memory taken and given back between two looks is not seen, and a limit may
be exceeded for as long as a look is away.
"""

import os
import resource
import signal
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

from scheduler.sandbox.process_tree import descendants, signal_all

INTERVAL_S: Final = 0.2
_SPARE_PIDS: Final = 1024
"""Above what this user has and the limit allows; the kernel's own limit, against bombs that outrun a look."""
_TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")


class Sampling:
    """Holds the descendants of this process to ``limits``: memory, pids, cpu; a missing one is no limit."""

    kind = "sampling"

    def __init__(self, limits: Mapping[str, Any]) -> None:
        self._limits = limits
        self._credit_s = 0.0
        self._spent_s = 0.0
        self._paused = False
        self.peak_bytes = 0
        """The most memory that was seen at a look."""

    def enter(self) -> None:
        """Bound the processes of this user, unless it is root, for whom there is no such bound."""
        if self._limits["pids"] and os.geteuid() != 0:
            _, hard = resource.getrlimit(resource.RLIMIT_NPROC)
            most = _threads_of(os.geteuid()) + self._limits["pids"] + _SPARE_PIDS
            if hard == resource.RLIM_INFINITY or most < hard:
                resource.setrlimit(resource.RLIMIT_NPROC, (most, most))

    def begin(self) -> None:
        """Another run of the same processes begins."""
        self.peak_bytes = 0

    def look(self, spent_s: float) -> str | None:
        """Return the limit that is exceeded, ``memory`` or ``pids``; hold up who uses too much CPU.

        ``spent_s`` is the CPU time of those that have ended.
        """
        pids = descendants(os.getpid())
        seen = [_seen(pid) for pid in pids]
        memory = sum(rss for _, rss in seen)
        self.peak_bytes = max(self.peak_bytes, memory)
        if self._limits["pids"] and len(pids) > self._limits["pids"]:
            return "pids"
        # What forked processes share is counted for each of them: only the exact and slow sum decides.
        if self._limits["memory"] and memory > self._limits["memory"] < sum(map(_proportional, pids)):
            return "memory"
        if self._limits["cpu"]:
            self._pace(pids, spent_s + sum(cpu for cpu, _ in seen))
        return None

    def shut(self) -> None:
        """Nothing can be done here to keep new processes from beginning."""

    def remove(self) -> None:
        """Nothing was made."""

    def _pace(self, pids: list[int], spent_s: float) -> None:
        share_s: float = self._limits["cpu"] * INTERVAL_S
        self._credit_s = min(share_s, self._credit_s + share_s) - max(0.0, spent_s - self._spent_s)
        self._spent_s = max(self._spent_s, spent_s)
        if self._credit_s < 0:
            signal_all(pids, signal.SIGSTOP)
            self._paused = True
        elif self._paused:
            signal_all(pids, signal.SIGCONT)
            self._paused = False


def _seen(pid: int) -> tuple[float, int]:
    """Return CPU seconds, with those of children it waited for, and bytes of memory of a process."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as stat:  # noqa: PTH123 - a path object each would double the cost
            fields = stat.read().rpartition(b")")[2].split()
    except OSError:
        return 0.0, 0
    return sum(map(int, fields[11:15])) / _TICKS_PER_S, int(fields[21]) * _PAGE


def _proportional(pid: int) -> int:
    """Return the memory of a process, each shared page divided by those who share it."""
    with suppress(OSError), open(f"/proc/{pid}/smaps_rollup", "rb") as rollup:  # noqa: PTH123 - see above
        for line in rollup:
            if line.startswith(b"Pss:"):
                return int(line.split()[1]) * 1024
    return _seen(pid)[1]


def _threads_of(uid: int) -> int:
    count = 0
    for entry in os.listdir("/proc"):  # noqa: PTH208 - see above
        if entry.isdigit():
            with suppress(OSError):
                if os.stat(f"/proc/{entry}").st_uid == uid:  # noqa: PTH116 - see above
                    count += len(os.listdir(f"/proc/{entry}/task"))  # noqa: PTH208 - see above
    return count
