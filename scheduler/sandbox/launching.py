"""Starts children: through the launcher, or in one that was kept from an earlier run."""

import asyncio
import contextlib
import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

from scheduler.clock import Clock
from scheduler.sandbox.children import Child, ChildOrder
from scheduler.sandbox.output import OutputBuffer
from scheduler.sandbox.warm import Kept, Recycling, WarmChildren

_PACKAGE_ROOT = str(Path(__file__).resolve().parents[2])
_LAUNCH = "import sys; sys.path.append(sys.argv[1]); from scheduler.sandbox.launcher import main; main()"
_SEND_AGAIN_S = 0.005
_CLOSE_S = 5.0


class Children:
    """Starts children through one launcher process, which is started when first needed."""

    def __init__(self, clock: Clock, recycling: Recycling) -> None:
        self._clock = clock
        self._warm = WarmChildren(recycling, clock)
        self._starting = asyncio.Lock()
        self._launcher: subprocess.Popen[bytes] | None = None
        self._link: socket.socket | None = None

    async def launch(self, order: ChildOrder) -> Child:
        """Start ``order``, in a child that was kept if there is one; a refusal of the system shows in its futures.

        Raises:
            OSError: out of descriptors, or no launcher can be started.
        """
        while order.key is not None and (kept := self._warm.take(order.key)) is not None:
            child = _run_again(kept, order)
            if child is not None and await child.has_begun():
                return child
        with contextlib.ExitStack() as ours, contextlib.ExitStack() as theirs:
            control, warden_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            ours.callback(control.close)
            theirs.callback(warden_end.close)
            output_fd, result_fd, fds = _ends(order, ours, theirs)
            await self._send([warden_end.fileno(), *fds])
            ours.pop_all()
        control.setblocking(False)
        return _followed(control, output_fd, result_fd)

    def keep(self, child: Child, order: ChildOrder) -> None:
        """Have a child that ended a run well wait for another of the same key."""
        kept = Kept(order.key or "", child.give_away(), child.runs)
        self._warm.keep(kept, order.most_runs)

    async def close(self) -> None:
        """End the launcher and the children that were kept. Those still followed are not ended by this."""
        await self._warm.close()
        await self._end_launcher()

    async def _end_launcher(self) -> None:
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
                    await self._end_launcher()
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


def _ends(
    order: ChildOrder, ours: contextlib.ExitStack, theirs: contextlib.ExitStack
) -> tuple[int, int | None, list[int]]:
    """Open what goes between us and a child; return our ends, of output and result, and its own."""
    output_read, output_write = os.pipe2(os.O_CLOEXEC)
    ours.callback(os.close, output_read)
    theirs.callback(os.close, output_write)
    os.set_blocking(output_read, False)
    words: dict[str, Any] = {"argv": list(order.argv), "env": dict(order.env), "cwd": order.cwd, "limits": order.limits}
    words |= {"reusable": order.key is not None, "enclosed": order.enclosed}
    order_fd = _memory_file(json.dumps(words).encode())
    theirs.callback(os.close, order_fd)
    stdin_fd = _memory_file(order.stdin)
    theirs.callback(os.close, stdin_fd)
    fds = [order_fd, stdin_fd, output_write]
    if not order.wants_result:
        return output_read, None, fds
    result_fd = _memory_file(b"")
    ours.callback(os.close, result_fd)
    return output_read, result_fd, [*fds, result_fd]


def _run_again(kept: Kept, order: ChildOrder) -> Child | None:
    """Give a run to a child that waits; None when it has ended."""
    with contextlib.ExitStack() as ours, contextlib.ExitStack() as theirs:
        ours.callback(kept.control.close)
        output_fd, result_fd, fds = _ends(order, ours, theirs)
        try:
            socket.send_fds(kept.control, [b"R"], fds)
        except (ConnectionError, BlockingIOError):
            return None
        ours.pop_all()
    child = _followed(kept.control, output_fd, result_fd)
    child.runs = kept.runs + 1
    return child


def _followed(control: socket.socket, output_fd: int, result_fd: int | None) -> Child:
    loop = asyncio.get_running_loop()
    futures = (loop.create_future(), loop.create_future(), loop.create_future())
    child = Child(control, output_fd, result_fd, OutputBuffer(), *futures)
    child.follow()
    return child


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
