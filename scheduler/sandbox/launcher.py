"""The launcher: a small process with one thread and a clean environment that forks a warden for each job.

It exists so that the executor, which has threads, secrets in its environment and much memory,
never forks. It ends when its executor does. The wardens do not need it to live on; what a dead
warden leaves behind comes to the launcher as orphans, and is killed.
"""

import gc
import os
import select
import signal
import socket
import sys

from scheduler.sandbox.process_tree import become_subreaper, descendants, kill_all, refuse_inspection, signal_all
from scheduler.sandbox.warden import IGNORED, Wakeup, guard

MAX_FDS = 5
MOST_STOPS = 10


def main() -> None:
    """Serve launch requests that come over the socket whose descriptor is the last argument."""
    link = socket.socket(fileno=int(sys.argv[-1]))
    link.set_inheritable(False)
    for number in IGNORED:
        signal.signal(number, signal.SIG_IGN)
    become_subreaper()
    refuse_inspection()  # wardens know the environments of their jobs
    gc.disable()
    gc.freeze()  # the forks share these pages
    _Launcher(link).serve()


class _Launcher:
    def __init__(self, link: socket.socket) -> None:
        self._link = link
        self._wakeup = Wakeup()
        self._wardens: dict[int, int] = {}
        """How often each was stopped."""

    def serve(self) -> None:
        poll = select.poll()
        poll.register(self._link, select.POLLIN)
        poll.register(self._wakeup.fd, select.POLLIN)
        while True:
            ready = dict(poll.poll())
            if self._wakeup.fd in ready:
                self._wakeup.clear()
                self._reap()
            if self._link.fileno() in ready:
                request, fds, _, _ = socket.recv_fds(self._link, 1, MAX_FDS, socket.MSG_CMSG_CLOEXEC)
                if not request:
                    return
                self._fork_warden(fds)

    def _fork_warden(self, fds: list[int]) -> None:
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                self._link.close()
                self._wakeup.close()
                guard(fds)
                status = 0
            finally:
                os._exit(status)
        self._wardens[pid] = 0
        for fd in fds:
            os.close(fd)

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG | os.WUNTRACED)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if os.WIFSTOPPED(status):
                self._let_go_on(pid)
                continue
            self._wardens.pop(pid, None)
            if status != 0:  # a warden was killed and left us orphans, or an orphan was killed: look for more
                self._kill_strays()

    def _let_go_on(self, pid: int) -> None:
        """Wake a warden that its job has stopped: it would hold no limits. One that is stopped all the time ends."""
        if pid in self._wardens:
            self._wardens[pid] += 1
            signal_all([pid], signal.SIGCONT if self._wardens[pid] <= MOST_STOPS else signal.SIGKILL)

    def _kill_strays(self) -> None:
        below_wardens = {pid for warden in self._wardens for pid in descendants(warden)}
        kill_all([pid for pid in descendants(os.getpid()) if pid not in below_wardens and pid not in self._wardens])
