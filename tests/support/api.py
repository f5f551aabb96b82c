"""The HTTP interface as it is served, on a database of the test's own, asked over HTTP."""

import contextlib
import json
import random
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import aiohttp
import asyncpg

from actors.ingress import Ingress, Listen
from scheduler.api.app import make_front
from scheduler.api.site import Site
from scheduler.clock import SystemClock
from scheduler.config import Settings
from scheduler.definitions.model import Definitions
from scheduler.domain.access import Role
from scheduler.metrics import Metrics
from scheduler.roles import ACTOR_ROLES
from scheduler.store.api_keys import create_key
from scheduler.store.definitions import apply
from scheduler.store.pool import connect
from scheduler.store.roles import as_role
from scheduler.store.stores import Stores
from schemas.job_spec import JobSpec

TRUE = {"run": {"command": ["true"]}}
DAILY = {"run": {"command": ["true"]}, "triggers": [{"cron": "0 2 * * *"}]}


@dataclass
class Answer:
    status: int
    headers: Mapping[str, str]
    text: str

    @property
    def json(self) -> Any:
        return json.loads(self.text)


@dataclass
class Api:
    """``stores`` are the owner's, ``site`` and its stores those that are served; ``db`` is the test's own."""

    site: Site
    ingress: Ingress
    stores: Stores
    db: "asyncpg.Connection[asyncpg.Record]"
    session: aiohttp.ClientSession
    keys: dict[tuple[str, str], str] = field(default_factory=dict)

    async def key(self, role: str = "admin", tenant: str = "default") -> str:
        """Return a key of that role, made when first asked for."""
        known = self.keys.get((role, tenant))
        if known is None:
            clock = SystemClock()
            until = clock.now() + timedelta(hours=1)
            known = await create_key(self.stores.main, tenant, role, Role(role), expires_at=until, clock=clock)
            self.keys[role, tenant] = known
        return known

    async def ask(self, method: str, path: str, body: Any = None, *, key: str | None = None, **given: Any) -> Answer:
        headers = {name.replace("_", "-"): value for name, value in given.pop("headers", {}).items()}
        if key is not None:
            headers["Authorization"] = f"Bearer {key}"
        if isinstance(body, bytes):
            given["data"] = body
            headers.setdefault("Content-Type", "application/json")
        elif body is not None:
            given["json"] = body
        async with self.session.request(method, self.url(path), headers=headers, **given) as answer:
            return Answer(answer.status, answer.headers, await answer.text())

    async def get(self, path: str, **given: Any) -> Answer:
        return await self.ask("GET", path, **given)

    async def post(self, path: str, body: Any = None, **given: Any) -> Answer:
        return await self.ask("POST", path, body, **given)

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.ingress.port}{path}"

    async def apply(self, tenant: str = "default", **jobs: Mapping[str, Any]) -> None:
        specs = {name.replace("_", "-"): JobSpec.model_validate(fields) for name, fields in jobs.items()}
        await apply(self.stores.main, Definitions(tenant, None, specs, {}, ()), prune=False, clock=SystemClock())


@contextlib.asynccontextmanager
async def serving(dsn: str, **settings: Any) -> AsyncIterator[Api]:
    """Serve on a migrated database, as the role that an ingress has, on any port."""
    clock = SystemClock()
    made = Settings.model_validate(settings)
    site = Site(made, clock, Metrics("ingress"))
    ingress = Ingress(make_front(site), Listen("127.0.0.1", 0), clock, random.Random(1), site.streams.end)
    stores = await Stores.open(dsn, name="test", size=2)
    site.stores = await Stores.open(as_role(dsn, ACTOR_ROLES["ingress"]), name="ingress", size=5)
    served = site.stores
    db = await connect(dsn, name="test")

    async def well() -> Mapping[str, str]:
        return {}

    site.troubles = well
    await ingress.start()
    try:
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True)) as session:
            yield Api(site, ingress, stores, db, session)
    finally:
        await ingress.drain()
        await db.close()
        for closing in (stores, served):
            await closing.close()
