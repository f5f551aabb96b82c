"""Takes verified webhooks in: into the database, or, while that is away, into a broker that keeps them.

Every event of a delivery has the same id by either way, so that it is recorded once however often it comes.
"""

import asyncio
import random
from collections.abc import Sequence
from typing import Final

import structlog

from scheduler.api.group_commit import GroupCommit
from scheduler.api.hook_endpoints import Endpoint, Endpoints
from scheduler.clock import Clock
from scheduler.errors import BrokerUnavailableError, TransientError
from scheduler.ports import LinkState, Out, Publisher, PublishOutcome, Transport
from scheduler.service import Service
from scheduler.store.doorbell import DEFINITIONS, Doorbell
from scheduler.store.events import NewEvent, Recorded
from scheduler.store.stores import Stores
from scheduler.store.tenant_store import TenantStore
from scheduler.transport.topology import ROUTES
from schemas.facts import EventReceived
from schemas.registry import MAX_BODY_BYTES, dump

log: structlog.stdlib.BoundLogger = structlog.get_logger()

_LOOK_S: Final = 30.0
"""Endpoints are read again after this, whether or not somebody rang: secrets in files change without a ring."""
_OWN_LOOK_S: Final = 5.0
"""The same where tenants have databases of their own: nobody rings there."""
_CONFIRM_S: Final = 5.0
"""GitHub waits ten seconds for an answer."""
_LIST: Final = 200
_RECEIVED: Final = ROUTES["event.received"]


class HookDesk(Service):
    """Knows the endpoints and takes their events. ``keeps``: the broker outlives this process, and its disk."""

    def __init__(self, stores: Stores, transport: Transport, clock: Clock, rng: random.Random, *, keeps: bool) -> None:
        super().__init__("hooks", clock, rng)
        self._stores = stores
        self._transport = transport
        self._keeps = keeps
        self._endpoints = Endpoints()
        self._writing = GroupCommit(lambda tenant: TenantStore(stores.of(tenant), tenant), self._hint)
        self._publisher: Publisher | None = None
        self._away = False

    async def start(self) -> None:
        """Learn the endpoints, and keep to what they become.

        Raises:
            DatabaseUnavailableError: they cannot be read.
        """
        await self.look()
        self._publisher = await self._transport.publisher("ingress")
        self.keep("endpoints", self._follow)

    async def stop(self) -> None:
        await super().stop()
        await self._writing.close()
        if self._publisher is not None:
            await self._publisher.close()

    async def look(self) -> None:
        """Learn what the endpoints are now.

        Raises:
            DatabaseUnavailableError: they cannot be read; those of before stay.
        """
        await self._endpoints.load(self._stores.main, self._stores.apart())

    def find(self, tenant: str, name: str) -> Endpoint | None:
        """Return an endpoint; None: there is none.

        Raises:
            DatabaseUnavailableError: nobody knows yet whether there is.
        """
        return self._endpoints.find(tenant, name)

    async def take(self, event: NewEvent, size: int) -> Recorded:
        """Take an event that came in ``size`` bytes in; it cannot be lost any more when this returns.

        Raises:
            TransientError: neither database nor broker can be relied on now; the event may be taken in all the same.
        """
        try:
            recorded = await self._writing.record(event, size)
        except TransientError as error:
            return await self._hand_over(event, error)
        if self._away:
            self._away = False
            log.info("webhooks.recorded_again")
        return recorded

    async def _follow(self) -> None:
        async with Doorbell(self._stores.main.dsn, DEFINITIONS, name="ingress bell") as bell:
            while not self.draining:
                await self.look()
                self.well("endpoints")
                await bell.wait(self.clock, _OWN_LOOK_S if self._stores.apart() else _LOOK_S)

    def _hint(self, events: Sequence[NewEvent]) -> None:
        """Tell the Dispatcher of recorded events, without waiting: it finds them by looking, too."""
        if self._publisher is None or not events or (store := self._stores.of(events[0].tenant)).alone:
            return
        key = _RECEIVED.key(store.apart)
        facts = [EventReceived(tenant=event.tenant, event_id=event.id) for event in events]
        for at in range(0, len(facts), _LIST):
            _ = self._publisher.publish(Out(_RECEIVED.exchange, key, dump(facts[at : at + _LIST])))

    async def _hand_over(self, event: NewEvent, why: TransientError) -> Recorded:
        """Have the broker keep an event that could not be recorded."""
        store = self._stores.of(event.tenant)
        if self._publisher is None or not self._keeps or self._transport.state is not LinkState.UP or store.alone:
            raise why
        if not self._away:
            self._away = True
            log.warning("webhooks.kept_by_broker", error=str(why))
        body = dump([event.carried()])
        if len(body) > MAX_BODY_BYTES:
            raise why
        key = _RECEIVED.key(store.apart)
        outcome = self._publisher.publish(Out(_RECEIVED.exchange, key, body))
        try:
            async with asyncio.timeout(_CONFIRM_S):
                said = await asyncio.shield(outcome)
        except TimeoutError:
            said = PublishOutcome.UNKNOWN
        if said is not PublishOutcome.STORED:
            raise BrokerUnavailableError(f"{why}; and the broker has not confirmed the event: {said}") from why
        return Recorded(event.id, duplicate=False)
