"""A TCP proxy that loses the server's answer: what was asked is done, and who asked never hears of it."""

import asyncio
import re
from contextlib import suppress
from typing import Self

from tests.support.proxy import reset


class AnswerLoser:
    """Forwards a loopback port of its own to ``host:port``; use as an async context manager.

    The next ``left`` answers that hold ``pattern`` are not passed on: both sides are reset instead. With ``words``
    only those to the statements that contain them: prepared by asyncpg once, and called by name from then on.
    """

    def __init__(self, host: str, port: int, pattern: bytes, words: bytes = b"") -> None:
        self._target = (host, port)
        self._pattern = pattern
        self._prepared = re.compile(rb"(__asyncpg_\w+)\x00[^\x00]*" + re.escape(words))
        self._words = words
        self._tasks: set[asyncio.Task[None]] = set()
        self.left = 0
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

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        up_reader, up_writer = await asyncio.open_connection(*self._target)
        meant = asyncio.Event()
        if not self._words:
            meant.set()
        pumps = [
            asyncio.create_task(self._ask(reader, up_writer, meant)),
            asyncio.create_task(self._answer(up_reader, writer, meant)),
        ]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            reset(writer)
            reset(up_writer)

    async def _ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, meant: asyncio.Event) -> None:
        names: set[bytes] = set()
        with suppress(OSError):
            while data := await reader.read(65536):
                if self._words:
                    names.update(self._prepared.findall(data))
                    (meant.set if any(name in data for name in names) else meant.clear)()
                writer.write(data)
                await writer.drain()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, meant: asyncio.Event) -> None:
        with suppress(OSError):
            while data := await reader.read(65536):
                if self.left > 0 and meant.is_set() and self._pattern in data:
                    self.left -= 1
                    return
                writer.write(data)
                await writer.drain()
