"""A TCP proxy on loopback that can fail like a network: stall, refuse, reset, be slow."""

import asyncio
import socket
import struct
from contextlib import suppress
from enum import StrEnum
from typing import Self


class Mode(StrEnum):
    PASS = "pass"
    BLACKHOLE_UP = "blackhole_up"
    """What the client sends is kept back."""
    BLACKHOLE_DOWN = "blackhole_down"
    """What the server sends is kept back."""
    BLACKHOLE = "blackhole"
    HOLD_END = "hold_end"
    """That one side has closed is kept from the other."""
    REFUSE = "refuse"
    """New connections are reset at once; those that stand go on."""


class Proxy:
    """Forwards a loopback port of its own to ``host:port``; use as an async context manager.

    Bytes kept back by a blackhole are forwarded when the mode is ``PASS`` again.
    """

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._mode = Mode.PASS
        self._changed = asyncio.Event()
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.latency_s = 0.0
        self.accepted = 0
        self.held = 0
        """How many pieces and ends it has kept back."""
        self.port = 0

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    @property
    def mode(self) -> Mode:
        return self._mode

    @mode.setter
    def mode(self, mode: Mode) -> None:
        self._mode = mode
        self._changed.set()
        self._changed = asyncio.Event()

    @property
    def connections(self) -> int:
        """How many clients are connected through it."""
        return len(self._writers) // 2

    def cut(self) -> None:
        """Reset (RST) every connection, on both sides."""
        for writer in list(self._writers):
            reset(writer)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        self.accepted += 1
        if self.mode is Mode.REFUSE:
            reset(writer)
            return
        try:
            up_reader, up_writer = await asyncio.open_connection(*self._target)
        except OSError:
            reset(writer)
            return
        self._writers |= {writer, up_writer}
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pump(reader, up_writer, Mode.BLACKHOLE_UP))
                group.create_task(self._pump(up_reader, writer, Mode.BLACKHOLE_DOWN))
        except asyncio.CancelledError:
            pass
        finally:
            self._writers -= {writer, up_writer}
            for end in (writer, up_writer):
                end.close()
                with suppress(OSError):
                    await end.wait_closed()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, stalled: Mode) -> None:
        with suppress(OSError):
            while data := await reader.read(65536):
                if self.latency_s:
                    await asyncio.sleep(self.latency_s)
                self.held += self.mode in (Mode.BLACKHOLE, stalled)
                while self.mode in (Mode.BLACKHOLE, stalled):
                    await self._changed.wait()
                writer.write(data)
                await writer.drain()
        self.held += self.mode is Mode.HOLD_END
        while self.mode is Mode.HOLD_END:
            await self._changed.wait()
        writer.close()


def reset(writer: asyncio.StreamWriter) -> None:
    """Close with a reset instead of an orderly end."""
    raw: socket.socket | None = writer.get_extra_info("socket")
    if raw is not None:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
