"""Which store hears about an attempt: a tenant with a database of its own has Recorders of its own."""

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any, Final

from actors.base import Actor
from scheduler.ports import Out, PublishOutcome
from schemas.commands import StartAttempt
from schemas.facts import ExecutorHeartbeat
from schemas.message import Message

ATTEMPTS: Final = "scheduler.attempts"


class ApartActor(Actor):
    """Learns from offers which tenants have a store of their own, and says there what is said of their attempts."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self._apart: set[str] = set()

    def learn(self, starts: Iterable[StartAttempt]) -> None:
        """Note which stores these offers are of."""
        self._apart.update(start.store for start in starts if start.store is not None)

    def post(
        self, exchange: str, key: str, messages: Sequence[Message], **options: Any
    ) -> list["asyncio.Future[PublishOutcome]"]:
        if exchange != ATTEMPTS or not self._apart:
            return super().post(exchange, key, messages, **options)
        groups: dict[str | None, list[Message]] = {}
        for message in messages:
            groups.setdefault(self._store_of(message), []).append(message)
        return [
            future
            for store, group in groups.items()
            for future in super(ApartActor, self).post(exchange, addressed(key, store), group, **options)
        ]

    def publish_ends(self, body: bytes, store: str | None) -> "asyncio.Future[PublishOutcome]":
        """Publish a body of ends as it lies in the spool; one that cannot be sent stays there."""
        if self._publisher is None:
            unsent: asyncio.Future[PublishOutcome] = asyncio.get_running_loop().create_future()
            unsent.set_result(PublishOutcome.UNKNOWN)
            return unsent
        return self._publisher.publish(Out(ATTEMPTS, addressed("attempt.finished", store), body))

    def _store_of(self, message: Message) -> str | None:
        if isinstance(message, ExecutorHeartbeat):
            return message.store
        return message.tenant if message.tenant in self._apart else None


def addressed(key: str, store: str | None) -> str:
    """Return the routing key by which a store hears what all hear by ``key``; None: the main one."""
    return key if store is None else f"{key}.{store}"
