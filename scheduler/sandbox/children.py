"""A child of this executor and the run that it has: what its warden says, what it writes, how it is ended."""

import asyncio
import contextlib
import json
import os
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from scheduler.sandbox.output import OutputBuffer
from scheduler.sandbox.results import PROGRESS_BYTES, progress_of
from scheduler.voice import Told
from schemas.facts import Usage

_READ_BYTES = 64 * 1024
_READS_PER_WAKE = 4


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
    key: str | None = None
    """Whose children may run this, and who may have the child afterwards; None: it runs in a fresh one."""
    enclosed: bool = False
    """By bubblewrap: the process that is started is not the job's own."""
    most_runs: int = 1
    """With a key: a child of so many runs ends."""


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
    """The limit that it was killed for: memory, pids or disk."""
    disk_bytes: int | None = None
    """The most that was seen in its folder, where that is limited."""
    usage: Usage | None = None
    """Known when it is gone."""
    runs: int = 1
    """How many it has had, with this one."""
    kept: bool = False
    """It lives on: the run has ended, and nothing of it is left."""
    _loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.get_running_loop)
    _begun: "asyncio.Future[None] | None" = None

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

    async def has_begun(self) -> bool:
        """Whether a child that was kept took up this run, and did not end just before."""
        word: asyncio.Future[None] = self._loop.create_future()
        self._begun = word
        try:
            await word
        except BaseException:
            self.close()
            raise
        if self.pid is None:
            self.close()
        return self.pid is not None

    def give_away(self) -> socket.socket:
        """Let go of all but the way to its warden, and return that."""
        control, self.control = self.control, socket.socket()
        self._loop.remove_reader(control.fileno())
        self.control.close()
        self.close()
        return control

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
        except (BlockingIOError, ConnectionResetError):
            # Reset: it ended before it read our last word. What it said before is still to come.
            return
        if not raw:
            self._close_control()
            return
        message: dict[str, Any] = json.loads(raw)
        self.kept = message.get("kept", False)
        self.pid = message.get("started", self.pid)
        if self._begun is not None and not self._begun.done():
            self._begun.set_result(None)
        if "refused" in message:
            number, step = message["refused"]
            self.refusal = (number, step)
        if "ended" in message and not self.ended.done():
            self.ended.set_result(message["ended"])
        self.exceeded = message.get("exceeded", self.exceeded)
        if "usage" in message:
            used = message["usage"]
            self.disk_bytes = used.pop("disk_bytes")
            self.usage = Usage(**used)
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
        if self._begun is not None and not self._begun.done():
            self._begun.set_result(None)
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
