"""An actor and its branches: one more of its kind for each tenant that has a database of its own.

A branch has a store, queues and loops of its own, perhaps a broker too, so one that is down, or slow, holds
up nobody else. Which there are is read again and again: a new one joins, one that is gone is closed, and one
that cannot be reached is tried until it can.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Final

import structlog

from actors.base import Actor
from scheduler.errors import TransientError
from scheduler.service import Service
from scheduler.store.registry import Home

log: structlog.stdlib.BoundLogger = structlog.get_logger()

_LOOK_S: Final = 5.0
"""Between two looks at the registry, and at each database."""
_LOOP: Final = "database "

Find = Callable[[], Awaitable[Mapping[str, Home]]]
"""Returns where each tenant that has a database of its own is found."""
Look = Callable[[], Awaitable[None]]
"""Sees that a branch's database is there.

Raises:
    TransientError: it is not.
"""
Open = Callable[[str, Home], AbstractAsyncContextManager[tuple[Actor, Look]]]
"""Opens the database of a tenant, by where it is found, and lends an actor for it that is not started."""


class Branches(Service):
    """``trunk``, the actor of the main store, with its branches. Ready when the trunk is."""

    def __init__(self, trunk: Actor, find: Find, open_branch: Open) -> None:
        super().__init__(trunk.name, trunk.clock, trunk.rng)
        self.trunk = trunk
        self._find = find
        self._open = open_branch
        self._found: dict[str, Home] = {}
        self._actors: dict[str, Actor] = {}

    @property
    def open(self) -> frozenset[str]:
        """The tenants whose branches work at this moment."""
        return frozenset(self._actors)

    async def start(self) -> None:
        await self.trunk.start()
        self.keep("registry", self._tend)

    async def drain(self) -> None:
        self.draining = True
        await asyncio.gather(
            self.trunk.drain(), *(actor.drain() for actor in self._actors.values()), return_exceptions=True
        )
        await self.stop()

    async def stop(self) -> None:
        await super().stop()
        await self.trunk.stop()

    def troubles(self) -> dict[str, str]:
        own = {name: why for name, why in super().troubles().items() if not name.startswith(_LOOP)}
        return own | self.trunk.troubles()

    async def _tend(self) -> None:
        while not self.draining:
            found = dict(await self._find())
            for tenant in [tenant for tenant in self._found if found.get(tenant) != self._found[tenant]]:
                await self._leave(tenant)
            for tenant in found.keys() - self._found.keys():
                self._found[tenant] = found[tenant]
                self.keep(f"{_LOOP}{tenant}", partial(self._live, tenant, found[tenant]))
            self.well("registry")
            await self.clock.sleep(_LOOK_S)

    async def _leave(self, tenant: str) -> None:
        del self._found[tenant]
        task = self._loops.pop(f"{_LOOP}{tenant}")
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        self.well(f"{_LOOP}{tenant}")
        log.info("tenant.left", actor=self.name, tenant=tenant)

    async def _live(self, tenant: str, home: Home) -> None:
        """Work for one tenant until its database does not answer any more; whoever keeps this loop tries again."""
        async with self._open(tenant, home) as (actor, look), self._working(tenant, actor):
            log.info("tenant.joined", actor=self.name, tenant=tenant)
            while True:
                await look()
                self.well(f"{_LOOP}{tenant}")
                await self.clock.sleep(_LOOK_S)

    @contextlib.asynccontextmanager
    async def _working(self, tenant: str, actor: Actor) -> AsyncIterator[None]:
        try:
            await actor.start()
            self._actors[tenant] = actor
            yield
        finally:
            self._actors.pop(tenant, None)
            with contextlib.suppress(TransientError):  # what it would say at its end, its database cannot hear
                await actor.stop()
