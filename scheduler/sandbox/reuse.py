"""The child's side of being kept: it offers itself to its warden after a run, and waits for the next."""

import atexit
import json
import os
import resource
import socket
import sys
from pathlib import Path

from scheduler.sandbox.footprint import Footprint, Sources, resident_bytes
from scheduler.sandbox.results import BEGUN, LINK_FD, RESULT_FD

_FDS = 4
_WORD_BYTES = 64
_STDIO = (0, 1, 2)


class Reuse:
    """One process between and during its runs; for the main thread."""

    def __init__(self, code_dir: Path) -> None:
        self._link = socket.socket(fileno=LINK_FD)
        self._link.set_inheritable(False)
        self._sources = Sources(code_dir)
        self._sources.watch()
        self._footprint: Footprint | None = None
        self._used = _used()

    def begin(self) -> None:
        """The job's function is about to be called; its modules are loaded."""
        self._footprint = Footprint()

    def is_wanted(self, keep_below: int) -> bool:
        """Whether this process may serve another run: the last one left it alone, and the warden says so, too."""
        if self._footprint is None or not self._footprint.is_left_alone() or resident_bytes() > keep_below:
            return False
        sys.stdout.flush()
        sys.stderr.flush()
        now = _used()
        told = {name: now[name] - self._used[name] for name in ("cpu_s", "read", "written")}
        self._link.send(json.dumps(told | {"largest_kib": now["largest_kib"]}).encode())
        return bool(self._link.recv(_WORD_BYTES))

    def wait(self) -> None:
        """Let go of the last run, wait for another, and become what it needs; ends the process when none comes."""
        from scheduler.sandbox.process_tree import allow_inspection, refuse_inspection  # slow: nobody waits for it here

        null = os.open(os.devnull, os.O_RDWR)
        for fd in (*_STDIO, RESULT_FD):
            os.dup2(null, fd)
        os.close(null)
        os.chdir("/")
        refuse_inspection()  # jobs of other tenants may run meanwhile, as the same user
        word, fds, _, _ = socket.recv_fds(self._link, _WORD_BYTES, _FDS)
        allow_inspection()
        if not word:
            sys.exit(0)
        self._link.send(BEGUN)
        _forget_peak()
        self._used = _used()
        order_fd, *stdio = fds
        for source, target in zip((stdio[0], stdio[1], stdio[1], stdio[2]), (*_STDIO, RESULT_FD), strict=True):
            os.dup2(source, target)
        order = json.loads(os.pread(order_fd, os.fstat(order_fd).st_size, 0))
        for fd in fds:
            os.close(fd)
        if self._sources.have_changed():
            self._begin_anew(order["env"], order["cwd"])
        for name in os.environ.keys() - order["env"].keys():
            del os.environ[name]
        os.environ.update(order["env"])
        os.chdir(order["cwd"])

    def _begin_anew(self, environment: dict[str, str], cwd: str) -> None:
        """Become a new process of this program, so that it loads its modules as they are now."""
        atexit._run_exitfuncs()  # noqa: SLF001 - as at every end of a program
        os.chdir(cwd)
        os.set_inheritable(LINK_FD, True)
        os.execve(sys.executable, sys.orig_argv, environment)  # noqa: S606 - the words are on standard input again


def _used() -> dict[str, float]:
    own, below = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return {
        "cpu_s": own.ru_utime + own.ru_stime + below.ru_utime + below.ru_stime,
        "read": own.ru_inblock + below.ru_inblock,
        "written": own.ru_oublock + below.ru_oublock,
        "largest_kib": max(own.ru_maxrss, below.ru_maxrss),
    }


def _forget_peak() -> None:
    """Count the peak of memory anew; where that cannot be done, it stays that of all runs."""
    try:
        with open("/proc/self/clear_refs", "wb") as file:  # noqa: PTH123 - before each run
            file.write(b"5")
    except OSError:
        return
