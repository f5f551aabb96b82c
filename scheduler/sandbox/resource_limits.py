"""Resource limits and usage of one attempt, as its warden sees to them. Loads nothing heavy: wardens are forked."""

import contextlib
import ctypes
import os
import resource
from typing import Any, Final, Protocol

from scheduler.sandbox.cgroup import Leaf
from scheduler.sandbox.sampling import INTERVAL_S, Sampling

__all__ = ["INTERVAL_S", "Limiter", "Spent", "limit_self", "limiter_for"]

_BLOCK: Final = 512
_IOPRIO_SET: Final = {"x86_64": 251, "aarch64": 30}
_IOPRIO_OF_PROCESS: Final = 1
_IO_CLASSES: Final = {"idle": 3 << 13, "low": 2 << 13 | 7}


class Limiter(Protocol):
    """Holds the processes of one attempt to its limits."""

    @property
    def kind(self) -> str: ...
    @property
    def peak_bytes(self) -> int: ...
    def enter(self) -> None: ...
    def look(self, spent_s: float) -> str | None: ...
    def shut(self) -> None: ...
    def remove(self) -> None: ...


def limiter_for(limits: dict[str, Any]) -> Limiter:
    """Return what holds an attempt to ``limits``; sampling, when the cgroup folder is not what it was."""
    if limits["means"] != Sampling.kind:
        with contextlib.suppress(OSError):
            return Leaf(limits["means"], limits["folders"], limits)
    return Sampling(limits)


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
    """What the ended processes of an attempt used, as they are reaped."""

    def __init__(self) -> None:
        self.cpu_s = 0.0
        self._largest_bytes = 0
        self._read_bytes = 0
        self._written_bytes = 0

    def add(self, used: resource.struct_rusage) -> None:
        """Add a reaped process, with those that it waited for."""
        self.cpu_s += used.ru_utime + used.ru_stime
        self._largest_bytes = max(self._largest_bytes, used.ru_maxrss * 1024)
        self._read_bytes += used.ru_inblock * _BLOCK
        self._written_bytes += used.ru_oublock * _BLOCK

    def usage(self, limiter: Limiter | None) -> dict[str, Any]:
        """Return the fields of Usage."""
        together = 0 if limiter is None else limiter.peak_bytes
        return {
            "cpu_s": round(self.cpu_s, 6),
            "peak_memory_bytes": together or self._largest_bytes,
            "read_bytes": self._read_bytes,
            "written_bytes": self._written_bytes,
            "limited_by": None if limiter is None else limiter.kind,
        }
