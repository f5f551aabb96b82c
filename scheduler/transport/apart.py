"""The broker as the actors of one store see it: their queues and keys carry its name, and nobody has to know."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Final

from scheduler.ports import Consumer, LinkState, Out, Publisher, PublishOutcome, Transport
from scheduler.transport.topology import ROUTES, store_queues, suffixed

_KEYS: Final = {(route.exchange, route.message_type) for route in ROUTES.values() if route.per == "store"}
_QUEUES: Final = frozenset(store_queues())


class ApartTransport:
    """A link shared with others, for the actors of a store that is not the main one; they do not close it."""

    def __init__(self, transport: Transport, store: str) -> None:
        self._transport = transport
        self._store = store

    async def start(self) -> None:
        """Do nothing: whoever shares the link has started it."""

    async def close(self) -> None:
        """Do nothing, likewise."""

    async def wait_up(self, timeout_s: float) -> None:
        await self._transport.wait_up(timeout_s)

    async def publisher(self, name: str) -> Publisher:
        return _ApartPublisher(await self._transport.publisher(name), self._store)

    async def consumer(self, queue: str, *, credit: int, name: str) -> Consumer:
        return await self._transport.consumer(self._named(queue), credit=credit, name=name)

    async def declare_control(self, executor: str) -> str:
        return await self._transport.declare_control(executor)

    async def depth(self, queue: str) -> tuple[int, int]:
        return await self._transport.depth(self._named(queue))

    async def send_canary(self) -> float:
        return await self._transport.send_canary()

    @property
    def state(self) -> LinkState:
        return self._transport.state

    @property
    def trouble(self) -> str:
        return self._transport.trouble

    @property
    def up_since(self) -> float | None:
        return self._transport.up_since

    def watch(self) -> AsyncIterator[LinkState]:
        return self._transport.watch()

    def _named(self, queue: str) -> str:
        return suffixed(queue, self._store) if queue in _QUEUES else queue


class _ApartPublisher:
    def __init__(self, publisher: Publisher, store: str) -> None:
        self._publisher = publisher
        self._store = store

    def publish(self, message: Out) -> "asyncio.Future[PublishOutcome]":
        if (message.exchange, message.key) in _KEYS:
            message = replace(message, key=suffixed(message.key, self._store))
        return self._publisher.publish(message)

    async def close(self) -> None:
        await self._publisher.close()
