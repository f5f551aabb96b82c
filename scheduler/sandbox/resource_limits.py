"""Resource limits and usage of one attempt, as its warden sees to them. Loads nothing heavy: wardens are forked."""

import contextlib
import ctypes
import os
import resource
from typing import Any, Final

from scheduler.sandbox.cgroup import Leaf
from scheduler.sandbox.disk_limit import DiskLimit
from scheduler.sandbox.limiter import Limiter
from scheduler.sandbox.sampling import INTERVAL_S, Sampling

__all__ = ["INTERVAL_S", "Limiter", "Spent", "limit_self", "limiter_for"]

_BLOCK: Final = 512
_IOPRIO_SET: Final = {"x86_64": 251, "aarch64": 30}
_IOPRIO_OF_PROCESS: Final = 1
_IO_CLASSES: Final = {"idle": 3 << 13, "low": 2 << 13 | 7}


def limiter_for(limits: dict[str, Any]) -> Limiter:
    """Return what holds an attempt to ``limits``; sampling, when the cgroup folder is not what it was."""
    found: Leaf | Sampling | None = None
    if limits["means"] != Sampling.kind:
        with contextlib.suppress(OSError):
            found = Leaf(limits["means"], limits["folders"], limits)
    if found is None:
        found = Sampling(limits)
    return DiskLimit(found, limits) if limits["disk"] else found


def limit_self(limits: dict[str, Any]) -> None:
    """Put the limits that a process hands on by itself on the calling one: size of files, priority at the disk."""
    if limits["file_size"]:
        _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        size = limits["file_size"] if hard == resource.RLIM_INFINITY else min(hard, limits["file_size"])
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
    number = _IOPRIO_SET.get(os.uname().machine)
    if limits["io"] in _IO_CLASSES and number is not None:
        ctypes.CDLL(None).syscall(number, _IOPRIO_OF_PROCESS, 0, _IO_CLASSES[limits["io"]])


class Spent:
    """What the processes of an attempt used, as they are reaped; the main one may live on through several runs."""

    def __init__(self) -> None:
        self.cpu_s = 0.0
        """CPU time of all that have ended."""
        self._used = (0.0, 0, 0)
        self._told = (0.0, 0, 0)
        self._before = (0.0, 0, 0)
        self._largest_bytes = 0

    def begin(self) -> None:
        """Another run begins: what was used so far is not its."""
        self._before = self._used
        self._largest_bytes = 0

    def add(self, used: resource.struct_rusage, *, is_main: bool) -> None:
        """Add a reaped process, with those that it waited for; of the main one, what it has not told."""
        cpu_s = used.ru_utime + used.ru_stime
        self.cpu_s += cpu_s
        self._largest_bytes = max(self._largest_bytes, used.ru_maxrss * 1024)
        amounts = (cpu_s, used.ru_inblock * _BLOCK, used.ru_oublock * _BLOCK)
        self._used = _sum(self._used, amounts)
        if is_main:
            self._used = _sum(self._used, self._told, -1)

    def tell(self, told: dict[str, Any]) -> None:
        """Add what the main process says it used in a run that it outlives."""
        amounts = (float(told["cpu_s"]), int(told["read"]) * _BLOCK, int(told["written"]) * _BLOCK)
        self._used = _sum(self._used, amounts)
        self._told = _sum(self._told, amounts)
        self._largest_bytes = max(self._largest_bytes, int(told["largest_kib"]) * 1024)

    def usage(self, limiter: Limiter | None) -> dict[str, Any]:
        """Return the fields of Usage, and what was in the folder of the attempt."""
        together = 0 if limiter is None else limiter.peak_bytes
        cpu_s, read, written = _sum(self._used, self._before, -1)
        return {
            "cpu_s": max(0.0, round(cpu_s, 6)),
            "peak_memory_bytes": together or self._largest_bytes,
            "read_bytes": max(0, read),
            "written_bytes": max(0, written),
            "limited_by": None if limiter is None else limiter.kind,
            "disk_bytes": limiter.peak_disk_bytes if isinstance(limiter, DiskLimit) else None,
        }


def _sum(one: tuple[float, int, int], other: tuple[float, int, int], sign: int = 1) -> tuple[float, int, int]:
    return (one[0] + sign * other[0], one[1] + sign * other[1], one[2] + sign * other[2])
