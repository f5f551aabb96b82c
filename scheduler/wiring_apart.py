"""How the branches of an actor are made: the part of the composition root for tenants with databases of their own."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Final

from actors.base import Actor
from actors.branches import Branches, Look
from actors.suspects import Suspects
from scheduler.errors import ConfigurationError, DatabaseUnavailableError
from scheduler.ports import Transport
from scheduler.store.crash_book import StoreCrashBook
from scheduler.store.registry import copy_pools, find_dsn, list_databases, open_apart
from scheduler.store.stores import Store, Stores
from scheduler.transport.apart import ApartTransport

Make = Callable[[Stores, Transport], Actor]
_OPERATES_POOLS: Final = "dispatcher"


@dataclass(frozen=True, slots=True)
class Growth:
    """What the branches of an actor are made by."""

    make: Make
    size: int
    """Of each branch's pool of connections."""
    allow_insecure: bool
    counts_crashes: bool
    """Whether the broker outlives its readers, so that a message can come again to the next one."""


def with_branches(trunk: Actor, main: Store, transport: Transport, growth: Growth) -> Branches:
    """Return ``trunk``, the actor of ``main``, with a branch for each tenant that has a database of its own."""

    @asynccontextmanager
    async def open_branch(tenant: str, reference: str) -> AsyncIterator[tuple[Actor, Look]]:
        try:
            dsn = await asyncio.to_thread(find_dsn, tenant, reference, allow_insecure=growth.allow_insecure)
        except ConfigurationError as error:  # to be put right while this process runs
            raise DatabaseUnavailableError(str(error)) from None
        store = await open_apart(tenant, dsn, name=trunk.name, size=growth.size)
        try:
            actor = growth.make(Stores(store), ApartTransport(transport, tenant))
            actor.suspects = Suspects(StoreCrashBook(store)) if growth.counts_crashes else None
            yield actor, partial(copy_pools, main, store) if trunk.name == _OPERATES_POOLS else store.probe
        finally:
            await store.close()

    return Branches(trunk, partial(list_databases, main), open_branch)
