"""The warden of one job: starts it, passes its end on, and leaves nothing of it alive.

It is the subreaper of the job, so that descendants which daemonise stay below it. The socket to
its executor says ``T`` (ask the job to stop) or ``K`` (kill all of it); the end of that socket
means that the executor is gone, and is a kill. It answers with JSON objects: ``started`` (pid) or
``refused`` ([errno, what]), ``exceeded`` (which limit; the job is killed then), ``ended`` (wait
status), ``gone`` (how many were killed after the end) with ``usage``.

A python child may live through several runs. After one that left nothing behind it tells what it
used, over a socket of its own, and is kept: ``kept`` stands beside ``ended`` and ``gone``. Then
``R``, with the descriptors of another run, is handed on to it, and ``E`` lets it end by itself.
"""

import contextlib
import fcntl
import json
import os
import resource
import select
import signal
import socket
from typing import Any, NoReturn

from scheduler.sandbox.process_tree import (
    become_subreaper,
    descendants,
    die_with_parent,
    enclosed_group,
    hand_on_no_more_rights,
    has_descendants_beside,
    kill_all,
    signal_all,
)
from scheduler.sandbox.resource_limits import INTERVAL_S, Limiter, Spent, limit_self, limiter_for
from scheduler.sandbox.results import BEGUN, KEPT, RESULT_FD

IGNORED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE)
_RESET = (*IGNORED, signal.SIGQUIT, signal.SIGCHLD, signal.SIGALRM, signal.SIGXFSZ)
_KILL_AGAIN_MS = 20
_ABOVE_STDIO = 10
_MOST_FDS = 4
_WORD_BYTES = 4096


class Wakeup:
    """A descriptor that becomes readable when a child changes state."""

    def __init__(self) -> None:
        self.fd, self._write_fd = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._write_fd, warn_on_full_buffer=False)

    def clear(self) -> bytes:
        """Return the numbers of the signals that came."""
        with contextlib.suppress(BlockingIOError):
            return os.read(self.fd, 4096)
        return b""

    def close(self) -> None:
        signal.set_wakeup_fd(-1)
        os.close(self.fd)
        os.close(self._write_fd)


def guard(fds: list[int]) -> None:
    """Run one job from its start until nothing of it is left.

    ``fds``: control socket, order (a file with JSON: argv, env, cwd, limits), stdin, output, and
    perhaps a file for the result.
    """
    control, order_fd, *stdio = fds
    become_subreaper()
    warden = _Warden(socket.socket(fileno=control))
    order = json.loads(os.pread(order_fd, os.fstat(order_fd).st_size, 0))
    os.close(order_fd)
    if warden.start(order, stdio):
        for fd in stdio:
            os.close(fd)
        warden.watch()


class _Warden:
    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._wakeup = Wakeup()
        self._job = 0
        self._killing = False
        self._left_behind: set[int] = set()
        self._spent = Spent()
        self._limiter: Limiter | None = None
        self._exceeded: str | None = None
        self._poll = select.poll()
        self._link: socket.socket | None = None
        """To a child that may be kept."""
        self._enclosed = False
        self._idle = False
        """It was kept, and has nothing to do."""

    def start(self, order: dict[str, Any], stdio: list[int]) -> bool:
        """Start the job; False (and told) when the system refuses."""
        error_read, error_write = os.pipe2(os.O_CLOEXEC)
        self._enclosed = order["enclosed"]
        if order["reusable"]:
            self._link, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            stdio.append(theirs.detach())
        if order["limits"] is not None:
            self._limiter = limiter_for(order["limits"])
        self._job = os.fork()
        if self._job == 0:
            _become_job(order, stdio, error_write, self._limiter)
        os.close(error_write)
        refusal = os.read(error_read, 1024)
        os.close(error_read)
        if refusal:
            os.waitpid(self._job, 0)
            if self._limiter is not None:
                self._limiter.remove()
            self._tell({"refused": json.loads(refusal)})
            return False
        self._begin()
        return True

    def watch(self) -> None:
        self._poll.register(self._control, select.POLLIN)
        self._poll.register(self._wakeup.fd, select.POLLIN)
        if self._link is not None:
            self._poll.register(self._link, select.POLLIN)
        while True:
            ready = dict(self._poll.poll(_KILL_AGAIN_MS if self._killing else None))
            numbers = self._wakeup.clear() if self._wakeup.fd in ready else b""
            if self._reap():
                self._finish()
                return
            if signal.SIGALRM in numbers:
                self._look()
            if self._link is not None and self._link.fileno() in ready:
                self._hear_child(self._link)
            if self._control.fileno() in ready:
                self._obey()
            if self._killing:
                self._kill()

    def _obey(self) -> None:
        word, fds, _, _ = socket.recv_fds(self._control, 16, _MOST_FDS, socket.MSG_CMSG_CLOEXEC)
        if not word:
            self._poll.unregister(self._control)
        if word == b"R":
            self._run_again(fds)
        elif word == b"E":
            self._leave_child()
        elif word != b"T":
            self._killing = True
        elif not self._idle:
            self._ask()

    def _ask(self) -> None:
        if not self._enclosed:
            self._signal(signal.SIGTERM)
            self._signal(signal.SIGCONT)
        elif self._job:
            asked = enclosed_group(self._job)
            signal_all(asked, signal.SIGTERM)
            signal_all(asked, signal.SIGCONT)

    def _begin(self) -> None:
        if self._limiter is not None:
            self._limiter.begin()
            signal.signal(signal.SIGALRM, lambda *_: None)
            signal.setitimer(signal.ITIMER_REAL, INTERVAL_S, INTERVAL_S)
        self._spent.begin()
        self._tell({"started": self._job})

    def _hear_child(self, link: socket.socket) -> None:
        """Keep the child after its run, or let it end; note that it has begun another."""
        raw = b""
        with contextlib.suppress(ConnectionResetError):  # it was killed before it read all
            raw = link.recv(_WORD_BYTES)
        if self._idle and raw == BEGUN:
            self._idle = False
            self._begin()
            return
        self._look()
        if not raw or self._killing or self._idle or has_descendants_beside(self._job):
            self._leave_child()
            return
        try:
            self._spent.tell(json.loads(raw))
            link.send(KEPT)
        except (ValueError, KeyError, TypeError, OSError):  # not what our child says: a job may write there, too
            self._leave_child()
            return
        self._idle = True
        signal.setitimer(signal.ITIMER_REAL, 0)
        self._tell({"ended": 0, "gone": 0, "usage": self._spent.usage(self._limiter), "kept": True})

    def _hear_last_word(self, link: socket.socket) -> None:
        """Note that a child had begun a run before it ended: its end is that of the run, which must not begin twice."""
        with contextlib.suppress(OSError):
            if link.recv(_WORD_BYTES, socket.MSG_DONTWAIT) == BEGUN:
                self._idle = False
                self._begin()

    def _run_again(self, fds: list[int]) -> None:
        if self._link is not None and self._idle:
            with contextlib.suppress(OSError):  # it has just ended; that nothing was started tells the executor
                socket.send_fds(self._link, [b"R"], fds)
        for fd in fds:
            os.close(fd)

    def _leave_child(self) -> None:
        """Be of no more use to the child, which takes it as the wish to end."""
        if self._link is not None:
            self._poll.unregister(self._link)
            self._link.close()
            self._link = None

    def _look(self) -> None:
        """Kill the job when it is beyond a limit."""
        if self._limiter is not None and self._exceeded is None:
            self._exceeded = self._limiter.look(self._spent.cpu_s)
            if self._exceeded is not None:
                self._killing = True
                self._tell({"exceeded": self._exceeded})

    def _finish(self) -> None:
        self._look()
        usage = self._spent.usage(self._limiter)
        if self._limiter is not None:
            self._limiter.remove()
        self._tell({"gone": len(self._left_behind), "usage": usage})

    def _kill(self) -> None:
        if self._limiter is not None:
            self._limiter.shut()
        self._signal(signal.SIGKILL)
        below = descendants(os.getpid())
        if not self._job:
            self._left_behind.update(below)
        kill_all(below)

    def _signal(self, number: signal.Signals) -> None:
        # Only while the job is not reaped: until then its process group id cannot be another's.
        if self._job:
            with contextlib.suppress(PermissionError, ProcessLookupError):
                os.killpg(self._job, number)

    def _reap(self) -> bool:
        """Collect ended children; True when none is left, and so no descendant either."""
        while True:
            try:
                pid, status, used = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                return True
            if pid == 0:
                return False
            if pid == self._job and self._idle and self._link is not None:
                self._hear_last_word(self._link)
            self._spent.add(used, is_main=pid == self._job)
            if pid == self._job:
                self._job = 0
                self._tell({"ended": status})

    def _tell(self, message: dict[str, Any]) -> None:
        with contextlib.suppress(OSError):  # the executor is gone: the kill that follows is all that matters
            self._control.send(json.dumps(message).encode())


def _become_job(order: dict[str, Any], stdio: list[int], error_fd: int, limiter: Limiter | None) -> NoReturn:
    error_fd = _moved_up(error_fd)
    what = "start"
    try:
        die_with_parent()
        os.setsid()
        for number in _RESET:
            signal.signal(number, signal.SIG_DFL)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        stdin, output, *more = [_moved_up(fd) for fd in stdio]
        for target, source in enumerate((stdin, output, output, *more)):
            os.dup2(source, target)
        first_closed = RESULT_FD + len(more)
        os.closerange(first_closed, error_fd)
        os.closerange(error_fd + 1, os.sysconf("SC_OPEN_MAX"))
        hand_on_no_more_rights(enclosed=order["enclosed"])
        if limiter is not None:
            what = "limits"
            limiter.enter()
            limit_self(order["limits"])
        what = "cwd"
        os.chdir(order["cwd"])
        what = "exec"
        os.execvpe(order["argv"][0], order["argv"], order["env"])  # noqa: S606 - no shell is what is wanted
    except BaseException as error:  # noqa: BLE001 - a forked child must not run on in its parent's code
        code = error.errno if isinstance(error, OSError) else None
        os.write(error_fd, json.dumps([code, what]).encode())
    os._exit(127)


def _moved_up(fd: int) -> int:
    return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _ABOVE_STDIO)
