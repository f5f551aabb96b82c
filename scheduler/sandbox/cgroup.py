"""A cgroup leaf of one attempt, version 1 or 2; made, watched and removed by the attempt's warden.

The kernel holds the processes in it to their limits. The leaf only has to be asked whether they
ran into one.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any, Final

LEAF: Final = "scheduler-"
"""Name of a leaf, before the number of its warden."""
_PERIOD_US: Final = 100_000
_PEAK: Final = {"cgroup1": "memory.max_usage_in_bytes", "cgroup2": "memory.peak"}
_OOM_COUNT: Final = {"cgroup1": "memory.oom_control", "cgroup2": "memory.events"}


class Leaf:
    """Holds an attempt's processes to ``limits``: memory, pids, cpu; a missing one is no limit."""

    def __init__(self, kind: str, folders: Mapping[str, str], limits: Mapping[str, Any]) -> None:
        """Make the leaf.

        Raises:
            OSError: it cannot be made, or does not take the limits; then nothing is left of it.
        """
        self.kind = kind
        self._limits = limits
        self._peak_before = 0
        self._seen = 0
        wanted = ["memory", "pids", *(["cpu"] if limits["cpu"] else [])]
        self._folders = {name: f"{folders[name]}/{LEAF}{os.getpid()}" for name in wanted}
        try:
            for folder in set(self._folders.values()):
                os.mkdir(folder)  # noqa: PTH102 - this runs for each attempt, in a process that has no pathlib loaded
            for controller, name, value, needed in _settings(kind, limits):
                with suppress(*(() if needed else (OSError,))):
                    self._write(controller, name, value)
        except OSError:
            self.remove()
            raise

    def enter(self) -> None:
        """Move the calling process into the leaf; what it starts is in it too."""
        for folder in set(self._folders.values()):
            _write(f"{folder}/cgroup.procs", "0")

    def begin(self) -> None:
        """Another run of the same processes begins: the peak of the one before is not its."""
        if self.kind == "cgroup1":
            with suppress(OSError):
                self._write("memory", _PEAK[self.kind], "0")
        else:
            self._peak_before, self._seen = self._number(_PEAK[self.kind]), 0

    def look(self, spent_s: float) -> str | None:  # noqa: ARG002 - the kernel sees to the CPU
        """Return the limit that was exceeded, ``memory`` or ``pids``; None while there is none.

        The kernel counts here too what was killed for the whole executor or machine, and forks that those refused.
        """
        if self._peak_before:
            self._seen = max(self._seen, self._number("memory.current"))
        if self._limits["memory"]:
            events = self._events("memory", _OOM_COUNT[self.kind])
            if events.get("oom_kill") and events.get("oom", 1):  # version 1 does not tell who was out of memory
                return "memory"
        return "pids" if self._limits["pids"] and self._events("pids", "pids.events").get("max") else None

    def shut(self) -> None:
        """Let nothing new begin in it, so that a kill of all can end."""
        with suppress(OSError):
            self._write("pids", "pids.max", "0")

    @property
    def peak_bytes(self) -> int:
        """The most memory that its processes had together; 0: the kernel does not tell.

        Version 2 tells it of all runs: of one that stayed below an earlier run, the most that was seen at a look.
        """
        peak = self._number(_PEAK[self.kind])
        return peak if peak > self._peak_before else self._seen

    def remove(self) -> None:
        """Remove it; its processes must have ended."""
        for folder in set(self._folders.values()):
            remove(folder)

    def _events(self, controller: str, name: str) -> dict[str, int]:
        return {word: int(count) for word, count in map(str.split, self._read(controller, name).splitlines())}

    def _number(self, name: str) -> int:
        return int(self._read("memory", name) or 0)

    def _read(self, controller: str, name: str) -> str:
        try:
            with open(f"{self._folders[controller]}/{name}", encoding="ascii") as file:  # noqa: PTH123 - see above
                return file.read()
        except OSError:
            return ""

    def _write(self, controller: str, name: str, value: str) -> None:
        _write(f"{self._folders[controller]}/{name}", value)


def remove(folder: str) -> None:
    """Remove a cgroup, with those that the job may have made in it; one that holds processes refuses, and stays."""
    try:
        os.rmdir(folder)  # noqa: PTH106 - see above
    except OSError:
        for below, _, _ in os.walk(folder, topdown=False):
            with suppress(OSError):
                os.rmdir(below)  # noqa: PTH106 - see above


def _settings(kind: str, limits: Mapping[str, Any]) -> Iterator[tuple[str, str, str, bool]]:
    """Yield controller, file, value, and whether the limit depends on it."""
    if limits["memory"]:
        memory = str(limits["memory"])
        if kind == "cgroup2":
            yield "memory", "memory.max", memory, True
            yield "memory", "memory.swap.max", "0", False
            yield "memory", "memory.oom.group", "1", False
        else:
            yield "memory", "memory.limit_in_bytes", memory, True
            yield "memory", "memory.memsw.limit_in_bytes", memory, False
    if limits["pids"]:
        yield "pids", "pids.max", str(limits["pids"]), True
    if limits["cpu"]:
        quota = str(int(limits["cpu"] * _PERIOD_US))
        if kind == "cgroup2":
            yield "cpu", "cpu.max", f"{quota} {_PERIOD_US}", True
        else:
            yield "cpu", "cpu.cfs_period_us", str(_PERIOD_US), True
            yield "cpu", "cpu.cfs_quota_us", quota, True


def _write(path: str, value: str) -> None:
    with open(path, "w", encoding="ascii") as file:  # noqa: PTH123 - see above
        file.write(value)
