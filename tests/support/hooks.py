"""An HTTP interface that takes webhooks in, and senders who sign."""

import base64
import contextlib
import hmac
import json
import random
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from scheduler.api.hook_desk import HookDesk
from scheduler.clock import SystemClock
from scheduler.definitions.model import Definitions
from scheduler.roles import ACTOR_ROLES
from scheduler.store.definitions import apply
from scheduler.store.roles import as_role
from scheduler.store.stores import Stores
from scheduler.transport.memory import MemoryTransport
from scheduler.transport.memory_broker import MemoryBroker
from scheduler.transport.topology import topology
from schemas.job_spec import JobSpec
from schemas.webhook_spec import WebhookSpec
from tests.support.api import Answer, Api, serving

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def sign(body: bytes, delivery: str, *, secret: str = SECRET, at: int | None = None) -> dict[str, str]:
    """Return the headers of a delivery as Standard Webhooks have them."""
    stamp = str(int(time.time()) if at is None else at)
    key = base64.b64decode(secret.removeprefix("whsec_"))
    mac = hmac.digest(key, f"{delivery}.{stamp}.".encode() + body, "sha256")
    return {
        "Content-Type": "application/json",
        "webhook-id": delivery,
        "webhook-timestamp": stamp,
        "webhook-signature": f"v1,{base64.b64encode(mac).decode()}",
    }


@dataclass
class Hooks:
    """``api`` is the interface, ``desk`` what takes in, ``transport`` what it tells the Dispatcher by."""

    api: Api
    desk: HookDesk
    transport: MemoryTransport
    sent: int = field(default=0)

    async def apply(self, hooks: Mapping[str, Mapping[str, Any]], tenant: str = "default", **jobs: Any) -> None:
        specs = {name: JobSpec.model_validate(spec) for name, spec in jobs.items()}
        webhooks = {name: WebhookSpec.model_validate(spec) for name, spec in hooks.items()}
        wanted = Definitions(tenant, None, specs, {}, (), webhooks=webhooks)
        await apply(self.api.stores.main, wanted, prune=False, clock=SystemClock())
        await self.desk.look()

    async def send(self, name: str, data: Any, *, delivery: str | None = None, **headers: str) -> Answer:
        """Send a signed delivery; ``data`` as JSON, or the bytes themselves. A name of headers has _ for -."""
        self.sent += 1
        body = data if isinstance(data, bytes) else json.dumps(data).encode()
        given = sign(body, delivery or f"msg_{self.sent}")
        given |= {key.replace("_", "-"): value for key, value in headers.items()}
        return await self.api.ask(
            "POST", name if name.startswith("/") else f"/hooks/default/{name}", body, headers=given
        )

    async def rows(self, what: str = "topic, data") -> list[tuple[Any, ...]]:
        return [tuple(row) for row in await self.api.db.fetch(f"SELECT {what} FROM events ORDER BY received_at, id")]


@contextlib.asynccontextmanager
async def hooking(dsn: str, *, keeps: bool = True, through: str | None = None, **settings: Any) -> AsyncIterator[Hooks]:
    """Serve on a migrated database, with a broker in memory that passes for one that keeps.

    ``through``: the way to the database for what takes webhooks in.
    """
    clock, rng, broker = SystemClock(), random.Random(1), MemoryBroker()
    broker.declare(topology({}))
    transport = MemoryTransport(broker, clock, rng)
    await transport.start()
    async with serving(dsn, **settings) as api:
        stores = await Stores.open(as_role(through or dsn, ACTOR_ROLES["ingress"]), name="ingress", size=5)
        desk = HookDesk(stores, transport, clock, rng, keeps=keeps)
        await desk.start()
        api.site.hooks = desk
        try:
            yield Hooks(api, desk, transport)
        finally:
            await desk.stop()
            await stores.close()
            await transport.close()
