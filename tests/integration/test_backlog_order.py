"""Who goes first in a backlog: classes of urgency, ageing within them, and tenants that take turns."""

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import pytest

from scheduler.store.catalogue import Catalogue
from scheduler.store.offering import Offering, Pace
from scheduler.store.pool import connect

if TYPE_CHECKING:
    from scheduler.store.pool import Connection

PACE = Pace(alive_s=30.0, resend_s=30.0)
READY = """
WITH made AS (INSERT INTO tenants (name) VALUES ($1) ON CONFLICT DO NOTHING)
INSERT INTO runs (id, tenant, job_id, job_version, job_name, flow_id, fired_at, state, pool, priority, ready_at)
SELECT gen_random_uuid(), $1, gen_random_uuid(), 1, $1, gen_random_uuid(), now(), 'ready', 'default', $2,
       now() - $3::float8 * interval '1 second' - g * interval '1 millisecond' FROM generate_series(1, $4::int) AS g
"""


async def offer(db: "Connection", slots: int) -> dict[str, int]:
    """Fill a pool with ``slots`` once; return how many of each were offered, two for each slot."""
    await db.execute(
        """INSERT INTO executors (boot_id, name, pool, slots, busy, handlers, host, pid, version)
           VALUES (gen_random_uuid(), 'e', 'default', $1, 0, '{}', 'h', 1, '0')""",
        slots,
    )
    async with db.transaction():
        await Offering(Catalogue()).fill(db, "default", PACE)
    rows = await db.fetch("SELECT tenant, count(*)::int FROM runs WHERE state = 'queued' GROUP BY tenant")
    return dict(rows)


@pytest.fixture
async def db(database_url: str) -> AsyncIterator["Connection"]:
    connection = await connect(database_url, name="test")
    yield connection
    await connection.close()


async def test_flooding_tenant_gets_no_more_than_its_turns(db: "Connection") -> None:
    await db.execute(READY, "flood", 2, 60.0, 500)
    for tenant in ("a", "b", "c"):
        await db.execute(READY, tenant, 2, 1.0, 10)

    assert await offer(db, 10) == {"flood": 5, "a": 5, "b": 5, "c": 5}


async def test_turns_that_a_tenant_does_not_need_go_to_the_others(db: "Connection") -> None:
    await db.execute(READY, "flood", 2, 60.0, 500)
    await db.execute(READY, "a", 2, 1.0, 3)

    assert await offer(db, 10) == {"flood": 17, "a": 3}


async def test_urgent_runs_go_first_whoever_they_belong_to(db: "Connection") -> None:
    await db.execute(READY, "normal", 2, 10.0, 50)
    await db.execute(READY, "urgent", 0, 0.0, 50)

    assert await offer(db, 10) == {"urgent": 20}


async def test_what_waits_long_shares_with_what_is_urgent(db: "Connection") -> None:
    await db.execute(READY, "low", 3, 1000.0, 50)
    await db.execute(READY, "urgent", 0, 0.0, 50)

    assert await offer(db, 10) == {"low": 10, "urgent": 10}


async def test_urgent_run_of_the_same_tenant_is_not_behind_what_waits_long(db: "Connection") -> None:
    await db.execute(READY, "t", 3, 4000.0, 500)
    await db.execute(READY, "t", 0, 0.0, 1)

    await offer(db, 1)

    assert await db.fetchval("SELECT count(*) FROM runs WHERE state = 'queued' AND priority = 0") == 1


async def test_oldest_goes_first_among_equals(db: "Connection") -> None:
    await db.execute(READY, "t", 2, 10.0, 20)

    await offer(db, 2)

    newest = await db.fetchval("SELECT min(ready_at) FROM runs WHERE state = 'ready'")
    oldest = await db.fetchval("SELECT max(ready_at) FROM runs WHERE state = 'queued'")
    assert oldest < newest
