"""How the branches of an actor are made: the part of the composition root for tenants with databases of their own."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Final

from actors.base import Actor
from actors.branches import Branches, Look
from actors.suspects import Suspects
from scheduler.config import Settings
from scheduler.errors import BrokerUnavailableError, ConfigurationError, DatabaseUnavailableError
from scheduler.ports import Transport
from scheduler.store.crash_book import StoreCrashBook
from scheduler.store.registry import Home, copy_pools, find_dsn, list_homes, open_apart
from scheduler.store.stores import Store, Stores
from scheduler.transport.apart import ApartTransport
from scheduler.transport.open import open_transport
from scheduler.transport.own_vhost import find_vhost

Make = Callable[[Stores, Transport], Actor]
_OPERATES_POOLS: Final = "dispatcher"


@dataclass(frozen=True, slots=True)
class Growth:
    """What the branches of an actor are made by."""

    make: Make
    size: int
    """Of each branch's pool of connections."""
    settings: Settings
    counts_crashes: bool
    """Whether the broker of all outlives its readers, so that a message can come again to the next one."""


def with_branches(trunk: Actor, main: Store, transport: Transport, growth: Growth) -> Branches:
    """Return ``trunk``, the actor of ``main``, with a branch for each tenant that has a database of its own."""

    @asynccontextmanager
    async def open_branch(tenant: str, home: Home) -> AsyncIterator[tuple[Actor, Look]]:
        async with AsyncExitStack() as stack:
            store = await _open_store(tenant, home, trunk.name, growth)
            stack.push_async_callback(store.close)
            link: Transport = ApartTransport(transport, tenant)
            if home.broker is not None:
                link = await _open_link(tenant, home.broker, trunk, growth.settings)
                stack.push_async_callback(link.close)
            actor = growth.make(Stores(store), link)
            counts = growth.counts_crashes or store.alone
            actor.suspects = Suspects(StoreCrashBook(store)) if counts else None
            yield actor, partial(copy_pools, main, store) if trunk.name == _OPERATES_POOLS else store.probe

    return Branches(trunk, partial(list_homes, main), open_branch)


async def _open_store(tenant: str, home: Home, name: str, growth: Growth) -> Store:
    insecure = growth.settings.insecure_database
    try:
        dsn = await asyncio.to_thread(find_dsn, tenant, home.database, allow_insecure=insecure)
    except ConfigurationError as error:  # to be put right while this process runs
        raise DatabaseUnavailableError(str(error)) from None
    return await open_apart(tenant, dsn, name=name, size=growth.size, alone=home.broker is not None)


async def _open_link(tenant: str, place: str, trunk: Actor, settings: Settings) -> Transport:
    """Return a link to the vhost of a tenant, which comes up by itself: rows are planned and kept until it does."""
    insecure = settings.insecure_broker
    try:
        url = await asyncio.to_thread(find_vhost, tenant, place, allow_insecure=insecure)
    except ConfigurationError as error:
        raise BrokerUnavailableError(str(error)) from None
    link = open_transport(url, actor=trunk.name, clock=trunk.clock, rng=trunk.rng)
    await link.start()
    return link
