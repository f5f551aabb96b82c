"""What a run leaves behind in the process that it ran in: whether another run may follow there.

Compared are the things that end with a process and would else pass on to the next run: threads,
open files, variables of the environment, signal handlers and timers, limits, ids, calls at exit.
What modules keep in memory is theirs to keep.
"""

import atexit
import gc
import os
import resource
import signal
import sys
import weakref
from collections.abc import Iterator
from importlib.machinery import SourceFileLoader
from pathlib import Path
from typing import Any

_SIGNALS = sorted(signal.valid_signals())
_LIMITS = sorted({getattr(resource, name) for name in dir(resource) if name.startswith("RLIMIT_")})
_TIMERS = (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF)
_PAGE = os.sysconf("SC_PAGE_SIZE")
_LOOKS = 20


class Footprint:
    """How this process is now; ``is_left_alone`` tells whether it is so again. For the main thread."""

    def __init__(self) -> None:
        gc.freeze()  # what is there by now is not looked at again after the run
        self._path = list(sys.path)
        self._umask = _umask()
        self._modules = len(sys.modules)
        self._exits = _calls_at_exit()
        self._threads = _threads()
        self._files = _open_files()
        self._state = _state()

    def is_left_alone(self) -> bool:
        """Whether nothing is left of the run since; gives back to the next what is only to be set again."""
        sys.path[:] = self._path
        os.umask(self._umask)
        gc.collect()
        if _calls_at_exit() > self._exits and len(sys.modules) == self._modules:  # else they may be a module's own
            return False
        if _state() != self._state or _open_files() - self._files:
            return False
        python = sys.modules.get("threading")
        if python is not None and python.active_count() > 1:
            return False
        return any(_threads() <= self._threads for _ in _looks())


def resident_bytes() -> int:
    """Return the memory that this process has now."""
    return int(_read("/proc/self/statm").split()[1]) * _PAGE


class Sources:
    """The source files below a folder that modules were loaded from, as they were then."""

    def __init__(self, folder: Path) -> None:
        self._folder = f"{folder}/"
        self._loaded: dict[str, tuple[float, int | None]] = {}

    def watch(self) -> None:
        """Note from now on what is imported."""
        loader: Any = SourceFileLoader
        stats_of = loader.path_stats

        def noting(self_of_loader: SourceFileLoader, path: str) -> Any:
            stats = stats_of(self_of_loader, path)
            if path.startswith(self._folder):
                self._loaded[path] = (stats["mtime"], stats.get("size"))
            return stats

        loader.path_stats = noting

    def have_changed(self) -> bool:
        """Whether one of them is another file now, or gone."""
        for path, loaded in self._loaded.items():
            try:
                now = os.stat(path)  # noqa: PTH116 - before each run
            except OSError:
                return True
            if (now.st_mtime, now.st_size) != loaded:
                return True
        return False


weakref.finalize(Sources, int).detach()  # the first one brings a call at exit, which is nobody's


def _state() -> tuple[object, ...]:
    root = os.stat("/")  # noqa: PTH116 - after each run
    return (
        dict(os.environ),
        [signal.getsignal(number) for number in _SIGNALS],
        signal.pthread_sigmask(signal.SIG_BLOCK, ()),
        [signal.getitimer(timer) != (0.0, 0.0) for timer in _TIMERS],
        [resource.getrlimit(limit) for limit in _LIMITS],
        (os.getresuid(), os.getresgid(), os.getgroups(), os.getpriority(os.PRIO_PROCESS, 0)),
        (root.st_dev, root.st_ino),
        [id(stream) for stream in (sys.stdin, sys.stdout, sys.stderr)],
        [stream.closed for stream in (sys.stdout, sys.stderr)],
    )


def _open_files() -> set[str]:
    return set(os.listdir("/proc/self/fd"))  # noqa: PTH208 - after each run


def _threads() -> int:
    return int(_read("/proc/self/stat").rpartition(")")[2].split()[17])


def _looks() -> Iterator[None]:
    """Yield a few times: a thread that was waited for takes a moment to leave the kernel."""
    for _ in range(_LOOKS):
        yield
        os.sched_yield()


def _calls_at_exit() -> int:
    registry: Any = weakref.finalize
    return atexit._ncallbacks() + len(registry._registry)  # noqa: SLF001 - nothing else tells


def _umask() -> int:
    umask = os.umask(0o77)
    os.umask(umask)
    return umask


def _read(path: str) -> str:
    with open(path, encoding="ascii", errors="replace") as file:  # noqa: PTH123 - after each run
        return file.read()
