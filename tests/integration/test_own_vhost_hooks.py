"""Webhooks of a tenant whose vhost the ingress does not reach: recorded and rung for, or refused, never kept where
nobody of the tenant reads."""

import asyncio
import random
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from scheduler.api.hook_desk import HookDesk
from scheduler.clock import SystemClock
from scheduler.errors import TransientError
from scheduler.store.doorbell import WORK, Doorbell
from scheduler.store.events import NewEvent
from scheduler.store.homes import Homes
from scheduler.store.moving import Place, found_tenant
from scheduler.store.pool import connect
from scheduler.store.stores import Stores
from scheduler.store.tenants import Terms
from scheduler.transport.memory import MemoryBroker, MemoryTransport
from scheduler.transport.topology import topology_of
from schemas.vocabulary import EventSource
from tests.support.services import Estate
from tests.support.services_postgres import PostgresServer

if TYPE_CHECKING:
    from scheduler.store.pool import Connection

CLOCK = SystemClock()
pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Hall:
    """A desk before a tenant with a vhost of its own; the broker of all still has queues of the tenant."""

    desk: HookDesk
    broker: MemoryBroker
    main: "Connection"
    server: PostgresServer

    def kept(self) -> int:
        return sum(len(queue.ready) for queue in self.broker.queues.values())


@pytest.fixture
async def hall(database_url: str, estate: Estate, tmp_path: Path) -> AsyncIterator[Hall]:
    server = PostgresServer(estate, f"own-{uuid.uuid4().hex[:8]}")
    server.start()
    (tmp_path / "own").write_text(server.dsn())
    stores = await Stores.open(database_url, name="ingress", size=2)
    place = Place(f"{{file:{tmp_path / 'own'}}}", server.dsn(), "{env:VHOST_OF_BANK}")
    await found_tenant(stores.main, "bank", Terms(), place)
    homes = Homes(stores, CLOCK, random.Random(1), size=2, allow_insecure=False)
    await homes.look()
    broker = MemoryBroker()
    broker.declare(topology_of({"default": 10}, ["bank"]))
    transport = MemoryTransport(broker, CLOCK, random.Random(1))
    await transport.start()
    desk = HookDesk(stores, transport, CLOCK, random.Random(1), keeps=True)
    await desk.start()
    main = await connect(database_url, name="test")
    yield Hall(desk, broker, main, server)
    await main.close()
    await desk.stop()
    await transport.close()
    await homes.stop()
    await stores.close()
    server.close()


def event() -> NewEvent:
    return NewEvent(
        id=uuid.uuid4(), tenant="bank", source=EventSource.WEBHOOK, topic="in", data={"n": 1}, key=str(uuid.uuid4())
    )


async def test_they_are_recorded_and_the_dispatchers_there_are_rung(hall: Hall) -> None:
    async with Doorbell(hall.server.dsn(), WORK, name="test bell") as bell:
        sent = event()
        recorded = await hall.desk.take(sent, 10)

        assert await bell.wait(CLOCK, 10), "nobody was rung"
    own = await connect(hall.server.dsn(), name="test")
    found = await own.fetchrow("SELECT id, verdict IS NULL AND sweep_at <= now() AS due FROM scheduler.events")
    await own.close()
    assert (sent.id, True) == tuple(found or ())
    assert recorded.event_id == sent.id
    assert 0 == hall.kept() == await hall.main.fetchval("SELECT count(*) FROM scheduler.events")


async def test_while_the_database_is_away_they_are_refused_and_not_given_to_the_broker_of_all(hall: Hall) -> None:
    await asyncio.to_thread(hall.server.stop, "immediate")

    with pytest.raises(TransientError):
        await hall.desk.take(event(), 10)

    assert 0 == hall.kept()
