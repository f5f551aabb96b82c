"""The executor's side of the launcher: start a child with its warden, follow it, end it."""

import asyncio
import contextlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scheduler.clock import Clock
from scheduler.sandbox.output import OutputBuffer
from scheduler.sandbox.results import PROGRESS_BYTES, progress_of
from scheduler.voice import Told
from schemas.facts import Usage

_PACKAGE_ROOT = str(Path(__file__).resolve().parents[2])
_LAUNCH = "import sys; sys.path.append(sys.argv[1]); from scheduler.sandbox.launcher import main; main()"
_READ_BYTES = 64 * 1024
_READS_PER_WAKE = 4
_SEND_AGAIN_S = 0.005
_CLOSE_S = 5.0


@dataclass(frozen=True, slots=True)
class ChildOrder:
    """What to start. ``stdin`` is the whole input; ``wants_result`` opens descriptor 3 for a result."""

    argv: Sequence[str]
    env: Mapping[str, str]
    cwd: str
    stdin: bytes = b""
    wants_result: bool = False
    limits: Mapping[str, Any] | None = None
    """Words for the warden, see ``limiter_for``; None: none, and nothing is watched."""


@dataclass(slots=True)
class Child:
    """A started child. All three futures resolve, whatever happens to the child, warden or launcher."""

    control: socket.socket
    output_fd: int
    result_fd: int | None
    output: OutputBuffer
    ended: "asyncio.Future[int | None]"
    """The wait status; None when there is none: see ``refusal``."""
    gone: "asyncio.Future[int]"
    """Nothing of it is left; how many processes had to be killed after the end."""
    output_closed: "asyncio.Future[None]"
    pid: int | None = None
    refusal: tuple[int | None, str] | None = None
    """Errno and step (start, limits, cwd, exec) when the system refused to start it."""
    exceeded: str | None = None
    """The limit that it was killed for: memory or pids."""
    usage: Usage | None = None
    """Known when it is gone."""
    _loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.get_running_loop)

    def follow(self) -> None:
        """Begin to read what the warden says and what the job writes."""
        self._loop.add_reader(self.control.fileno(), self._on_control)
        self._loop.add_reader(self.output_fd, self._on_output)

    def ask(self) -> None:
        """SIGTERM to the job's process group."""
        self._say(b"T")

    def kill(self) -> None:
        """SIGKILL to the job and all its descendants, repeatedly until none is left."""
        self._say(b"K")

    def read_result(self, limit: int) -> bytes:
        """Return the report that was written to descriptor 3, at most ``limit`` bytes."""
        return b"" if self.result_fd is None else os.pread(self.result_fd, limit, PROGRESS_BYTES)

    def read_progress(self) -> Told | None:
        """Return how far a python child said that it is."""
        return None if self.result_fd is None else progress_of(os.pread(self.result_fd, PROGRESS_BYTES, 0))

    def close(self) -> None:
        """Let go of all descriptors. A warden still at work takes this as the order to kill."""
        self._close_output()
        self._close_control()
        if self.result_fd is not None:
            os.close(self.result_fd)
            self.result_fd = None

    def _say(self, word: bytes) -> None:
        with contextlib.suppress(OSError):  # the warden has ended, and with it the job
            self.control.send(word)

    def _on_control(self) -> None:
        try:
            raw = self.control.recv(4096)
        except BlockingIOError:
            return
        except ConnectionError:
            raw = b""
        if not raw:
            self._close_control()
            return
        message: dict[str, Any] = json.loads(raw)
        self.pid = message.get("started", self.pid)
        if "refused" in message:
            number, step = message["refused"]
            self.refusal = (number, step)
        if "ended" in message and not self.ended.done():
            self.ended.set_result(message["ended"])
        self.exceeded = message.get("exceeded", self.exceeded)
        if "usage" in message:
            self.usage = Usage(**message["usage"])
        if "gone" in message and not self.gone.done():
            self.gone.set_result(message["gone"])

    def _on_output(self) -> None:
        for _ in range(_READS_PER_WAKE):
            try:
                chunk = os.read(self.output_fd, _READ_BYTES)
            except BlockingIOError:
                return
            if not chunk:
                self._close_output()
                return
            self.output.feed(chunk)

    def _close_control(self) -> None:
        if self.control.fileno() >= 0:
            self._loop.remove_reader(self.control.fileno())
            self.control.close()
        if not self.ended.done():
            self.ended.set_result(None)
        if not self.gone.done():
            self.gone.set_result(0)

    def _close_output(self) -> None:
        if self.output_fd >= 0:
            self._loop.remove_reader(self.output_fd)
            os.close(self.output_fd)
            self.output_fd = -1
        if not self.output_closed.done():
            self.output_closed.set_result(None)


class Children:
    """Starts children through one launcher process, which is started when first needed."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._starting = asyncio.Lock()
        self._launcher: subprocess.Popen[bytes] | None = None
        self._link: socket.socket | None = None

    async def launch(self, order: ChildOrder) -> Child:
        """Start ``order`` and return at once; a refusal of the system shows in the child's futures.

        Raises:
            OSError: out of descriptors, or no launcher can be started.
        """
        loop = asyncio.get_running_loop()
        with contextlib.ExitStack() as ours, contextlib.ExitStack() as theirs:
            control, warden_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            ours.callback(control.close)
            theirs.callback(warden_end.close)
            output_read, output_write = os.pipe2(os.O_CLOEXEC)
            ours.callback(os.close, output_read)
            theirs.callback(os.close, output_write)
            words = {"argv": list(order.argv), "env": dict(order.env), "cwd": order.cwd, "limits": order.limits}
            order_fd = _memory_file(json.dumps(words).encode())
            theirs.callback(os.close, order_fd)
            stdin_fd = _memory_file(order.stdin)
            theirs.callback(os.close, stdin_fd)
            result_fd = None
            if order.wants_result:
                result_fd = _memory_file(b"")
                ours.callback(os.close, result_fd)
            fds = [warden_end.fileno(), order_fd, stdin_fd, output_write]
            await self._send([*fds, result_fd] if result_fd is not None else fds)
            ours.pop_all()
        control.setblocking(False)
        os.set_blocking(output_read, False)
        futures = (loop.create_future(), loop.create_future(), loop.create_future())
        child = Child(control, output_read, result_fd, OutputBuffer(), *futures)
        child.follow()
        return child

    async def close(self) -> None:
        """End the launcher. Children still followed are not ended by this."""
        if self._link is not None:
            self._link.close()
            self._link = None
        if self._launcher is not None:
            launcher, self._launcher = self._launcher, None
            await asyncio.to_thread(_end, launcher)

    async def _send(self, fds: list[int]) -> None:
        async with self._starting:  # one at a time: two must not both restart a dead launcher
            for last_try in (False, True):
                if self._link is None:
                    self._start_launcher()
                try:
                    await self._send_over_link(fds)
                except ConnectionError:
                    await self.close()
                    if last_try:
                        raise
                else:
                    return

    async def _send_over_link(self, fds: list[int]) -> None:
        while self._link is not None:
            try:
                socket.send_fds(self._link, [b"L"], fds)
            except BlockingIOError:
                await self._clock.sleep(_SEND_AGAIN_S)
            else:
                return

    def _start_launcher(self) -> None:
        # On the loop, since it happens once and takes a millisecond (vfork); a thread could lose it to a cancel.
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        null = subprocess.DEVNULL
        with contextlib.ExitStack() as undo, theirs:
            undo.callback(ours.close)
            self._launcher = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", _LAUNCH, _PACKAGE_ROOT, str(theirs.fileno())],
                env={"PATH": os.defpath, "LANG": "C.UTF-8"},
                cwd="/",
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
                stdin=null,
                stdout=null,
                stderr=null,
            )
            undo.pop_all()
        self._link = ours


def _end(launcher: "subprocess.Popen[bytes]") -> None:
    try:
        launcher.wait(_CLOSE_S)
    except subprocess.TimeoutExpired:
        launcher.kill()
        launcher.wait()


def _memory_file(content: bytes) -> int:
    fd = os.memfd_create("scheduler", os.MFD_CLOEXEC)
    with contextlib.ExitStack() as undo:
        undo.callback(os.close, fd)
        os.pwrite(fd, content, 0)
        undo.pop_all()
    return fd
