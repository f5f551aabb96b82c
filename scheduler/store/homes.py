"""Keeps the databases of tenants open for a process that answers questions about any of them."""

import asyncio
import random

import structlog

from scheduler.clock import Clock
from scheduler.errors import ConfigurationError, TransientError
from scheduler.service import Service
from scheduler.store.registry import Home, find_dsn, list_homes, open_apart
from scheduler.store.stores import Stores

log: structlog.stdlib.BoundLogger = structlog.get_logger()

_LOOK_S = 5.0


class Homes(Service):
    """Has ``stores`` know the store of each tenant, as the registry says now; one that is down delays no other."""

    def __init__(self, stores: Stores, clock: Clock, rng: random.Random, *, size: int, allow_insecure: bool) -> None:
        super().__init__("homes", clock, rng)
        self._stores = stores
        self._size = size
        self._allow_insecure = allow_insecure
        self._found: dict[str, Home] = {}

    async def start(self) -> None:
        """Know of every tenant that has a store of its own; they are opened afterwards.

        Raises:
            DatabaseUnavailableError: the main one does not answer.
        """
        for tenant in await list_homes(self._stores.main):
            self._stores.note_missing(tenant, f"tenant {tenant}: its database is being opened")
        self.keep("registry", self._tend)

    async def look(self) -> None:
        """Read the registry once; open what is new, or could not be opened before, and close what is gone."""
        found = await list_homes(self._stores.main)
        for tenant in [tenant for tenant in self._found if found.get(tenant) != self._found[tenant]]:
            del self._found[tenant]
            await self._stores.forget(tenant)
        new = [tenant for tenant in found if tenant not in self._found]
        await asyncio.gather(*(self._open(tenant, found[tenant]) for tenant in new))

    async def _tend(self) -> None:
        while not self.draining:
            await self.look()
            self.well("registry")
            await self.clock.sleep(_LOOK_S)

    async def _open(self, tenant: str, home: Home) -> None:
        try:
            dsn = await asyncio.to_thread(find_dsn, tenant, home.database, allow_insecure=self._allow_insecure)
            store = await open_apart(tenant, dsn, name="ingress", size=self._size, alone=home.broker is not None)
        except (TransientError, ConfigurationError) as error:
            self._stores.note_missing(tenant, str(error))
            log.warning("tenant.not_reached", tenant=tenant, error=str(error))
            return
        self._found[tenant] = home
        self._stores.add(store)
