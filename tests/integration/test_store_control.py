"""What people ask for: trigger, cancel, retry, discard, pause. Each is a row and a ring."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from scheduler.clock import VirtualClock
from scheduler.definitions.model import Definitions
from scheduler.errors import ConflictError, NotFoundError
from scheduler.store import control, reading
from scheduler.store.dead_runs import DeadFilter, list_dead
from scheduler.store.definitions import apply
from scheduler.store.doorbell import CANCEL, WORK, Doorbell
from scheduler.store.ledger import FiringFilter, list_firings
from scheduler.store.pool import connect
from scheduler.store.stores import Store, Stores
from schemas.job_spec import JobSpec

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
TENANT = "default"
RUN = """
INSERT INTO runs (id, tenant, job_id, job_version, job_name, flow_id, fired_at, state, pool, priority, has_downstream,
                  finished_at, owner, lease_until, lease_token, params)
SELECT gen_random_uuid(), tenant, id, 1, name, gen_random_uuid(), now(), $1, 'default', 2, true,
       CASE WHEN $1 IN ('succeeded', 'failed', 'cancelled', 'skipped') THEN now() END,
       gen_random_uuid(), now(), gen_random_uuid(), '{"a": 1}' FROM jobs WHERE name = 'a' RETURNING id
"""


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock(NOW)


@pytest.fixture
async def store(database_url: str, clock: VirtualClock) -> AsyncIterator[Store]:
    """A store with the jobs a and b, which needs it."""
    stores = await Stores.open(database_url, name="test", size=2)
    jobs = {name: JobSpec(run={"command": ["x"]}, needs=needs) for name, needs in (("a", []), ("b", ["a"]))}
    await apply(stores.main, Definitions(TENANT, None, jobs, {}, ()), prune=False, clock=clock)
    yield stores.main
    await stores.close()


async def value(store: Store, query: str, *arguments: Any) -> Any:
    async with store.connection() as db:
        return await db.fetchval(query, *arguments)


async def test_triggering_writes_an_event_and_a_firing_owed_a_verdict(store: Store, clock: VirtualClock) -> None:
    async with Doorbell(store.dsn, WORK, name="test") as bell:
        asked = await control.trigger_jobs(store, TENANT, ["b", "a", "b"], params={"n": 1}, clock=clock)
        assert (await bell.wait(clock, 1.0))[0][0] == WORK

    assert [firing.job for firing in asked] == ["b", "a"]
    rows = await list_firings(store, TENANT, FiringFilter(limit=10))
    found = {(row["kind"], row["verdict"], row["fires_at"], row["zone"]) for row in rows}
    assert found == {("manual", None, NOW, "UTC")}
    assert await value(store, "SELECT topic FROM events") == "job.trigger"
    with pytest.raises(NotFoundError, match="nobody"):
        await control.trigger_jobs(store, TENANT, ["a", "nobody"], params=None, clock=clock)
    assert await value(store, "SELECT count(*) FROM firings") == 2


@pytest.mark.parametrize("state", ["waiting", "ready", "queued", "backing_off"])
async def test_cancel_ends_a_run_that_nobody_holds(store: Store, clock: VirtualClock, state: str) -> None:
    run = await value(store, RUN, state)

    assert await control.cancel_run(store, TENANT, run, reason="enough") == "cancelled"

    row = await reading.get_run(store, TENANT, run)
    assert (row["state"], row["reason"]) == ("cancelled", "enough")
    assert await value(store, "SELECT sweep_at <= now() FROM runs")
    with pytest.raises(ConflictError, match="is cancelled"):
        await control.cancel_run(store, TENANT, run, reason="again")


async def test_cancel_of_a_running_run_is_a_wish(store: Store, clock: VirtualClock) -> None:
    run = await value(store, RUN, "running")

    async with Doorbell(store.dsn, CANCEL, name="test") as bell:
        assert await control.cancel_run(store, TENANT, run, reason="enough") == "running"
        assert await bell.wait(clock, 1.0) == [(CANCEL, f"{TENANT} {run}")]

    assert (await reading.get_run(store, TENANT, run))["cancel_reason"] == "enough"


async def test_retry_asks_once_and_only_for_runs_that_are_over(store: Store, clock: VirtualClock) -> None:
    running, failed = await value(store, RUN, "running"), await value(store, RUN, "failed")

    await control.retry_run(store, TENANT, failed, clock=clock)

    for run, why in ((running, "is running"), (failed, "is being retried")):
        with pytest.raises(ConflictError, match=why):
            await control.retry_run(store, TENANT, run, clock=clock)
    firing = (await list_firings(store, TENANT, FiringFilter("a", limit=1)))[0]
    assert (firing["kind"], firing["retry_of"]) == ("retry", failed)
    assert await value(store, "SELECT params FROM firings") == {"a": 1}


async def test_a_dead_run_is_discarded_once(store: Store, clock: VirtualClock) -> None:
    failed, done = await value(store, RUN, "failed"), await value(store, RUN, "succeeded")
    assert [row["id"] for row in await list_dead(store, TENANT, DeadFilter())] == [failed]

    await control.discard_run(store, TENANT, failed)

    assert await list_dead(store, TENANT, DeadFilter()) == []
    for run in (failed, done):
        with pytest.raises(ConflictError):
            await control.discard_run(store, TENANT, run)
    with pytest.raises(ConflictError, match="discarded"):
        await control.retry_run(store, TENANT, failed, clock=clock)


async def test_another_tenant_sees_nothing_of_it(store: Store, clock: VirtualClock) -> None:
    run = await value(store, RUN, "failed")

    with pytest.raises(NotFoundError):
        await reading.get_run(store, "other", run)
    with pytest.raises(NotFoundError):
        await control.cancel_run(store, "other", run, reason="x")
    assert await reading.list_jobs(store, "other") == []
    assert await reading.list_runs(store, "other", reading.RunFilter()) == []


async def test_runs_are_paged_and_filtered(store: Store, clock: VirtualClock) -> None:
    for state in ("failed", "succeeded", "failed"):
        await value(store, RUN, state)

    first = await reading.list_runs(store, TENANT, reading.RunFilter(limit=2))
    rest = await reading.list_runs(store, TENANT, reading.RunFilter(after=first[-1]["id"]))
    failed = await reading.list_runs(store, TENANT, reading.RunFilter(job="a", states=["failed"]))

    assert len({row["id"] for row in (*first, *rest)}) == 3
    assert len(failed) == 2
    assert await reading.list_runs(store, TENANT, reading.RunFilter(since=datetime.now(UTC) + timedelta(days=1))) == []


async def test_a_pause_takes_its_locks_in_the_order_of_an_apply(store: Store, clock: VirtualClock) -> None:
    """Tenant before job: the other way round, a pause and an apply wait for each other until one is given up."""
    other = await connect(store.dsn, name="apply")
    try:
        async with other.transaction():
            await other.execute("UPDATE tenants SET name = name WHERE name = $1", TENANT)
            pause = asyncio.create_task(control.pause_job(store, TENANT, "a", note=None, clock=clock))
            waits = (
                "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
            )
            async with asyncio.timeout(10):
                while not await value(store, waits):
                    await asyncio.sleep(0)

            await other.execute("SELECT FROM jobs FOR NO KEY UPDATE NOWAIT")

        assert await pause
    finally:
        await other.close()


async def test_a_run_that_no_executor_can_take_says_why(store: Store) -> None:
    await value(store, RUN, "ready")
    await value(store, "UPDATE job_versions SET spec = jsonb_set(spec, '{run}', '{\"handler\": \"rare\"}')")
    arrive = """INSERT INTO executors (boot_id, name, pool, slots, busy, handlers, host, pid, version)
                VALUES (gen_random_uuid(), 'e', 'default', 1, 0, $1, 'h', 1, '0')"""
    said: list[str | None] = []
    for handlers in (None, ["other"], ["rare"]):
        if handlers is not None:
            await value(store, arrive, handlers)
        (run,) = await reading.list_runs(store, TENANT, reading.RunFilter())
        assert run["held_by"] == (await reading.get_run(store, TENANT, run["id"]))["held_by"]
        assert await reading.list_held(store, TENANT, lease_s=30.0) == {run["held_by"]: 1}
        said.append(run["held_by"])
    await value(store, "DELETE FROM executors WHERE handlers = '{other}'")

    assert said == [
        "no live executor of pool default",
        "no live executor of pool default has handler rare",
        "not every live executor of pool default has handler rare",
    ]
    assert await reading.list_held(store, TENANT, lease_s=30.0) == {}


async def test_a_run_that_no_executor_can_close_in_says_why(store: Store) -> None:
    await value(store, RUN, "ready")
    await value(store, "UPDATE job_versions SET spec = jsonb_set(spec, '{isolation}', '\"sandbox\"')")
    arrive = """INSERT INTO executors (boot_id, name, pool, slots, busy, sandboxes, handlers, host, pid, version)
                VALUES (gen_random_uuid(), 'e', 'default', 1, 0, $1, '{}', 'h', 1, '0')"""
    said = []
    for sandboxes in (False, True):
        await value(store, arrive, sandboxes)
        (run,) = await reading.list_runs(store, TENANT, reading.RunFilter())
        said.append(run["held_by"])
    await value(store, "DELETE FROM executors WHERE NOT sandboxes")

    assert said == [
        "no live executor of pool default can run isolation: sandbox (scheduler doctor says why)",
        "not every live executor of pool default can run isolation: sandbox",
    ]
    assert await reading.list_held(store, TENANT, lease_s=30.0) == {}


async def test_a_run_that_demands_more_than_any_executor_has_says_why(store: Store) -> None:
    await value(store, RUN, "ready")
    arrive = """INSERT INTO executors (boot_id, name, pool, slots, busy, cpu, memory_bytes, disk_bytes, handlers, host,
                pid, version) VALUES (gen_random_uuid(), 'e', 'default', 1, 0, $1, $2, $3, '{}', 'h', 1, '0')"""
    await value(store, arrive, 2.0, 8 * 1024**3, 1024**4)
    await value(store, arrive, 4.0, 1024**3, 1024**3)
    said = []
    for resources in (
        '{"cpu": 4.5}', '{"memory": "9GiB"}', '{"disk": "2TiB"}', '{"cpu": 3.5, "memory": "2048MiB"}',
        '{"cpu": 3.5, "disk": "2GiB"}', '{"memory": "8GiB"}', '{"disk": "2GiB"}',
    ):  # fmt: skip
        await value(store, f"UPDATE job_versions SET spec = jsonb_set(spec, '{{resources}}', '{resources}')")
        (run,) = await reading.list_runs(store, TENANT, reading.RunFilter())
        said.append(run["held_by"])

    assert said == [
        "no live executor of pool default has 4.5 cores",
        "no live executor of pool default has memory of 9GiB",
        "no live executor of pool default has disk space of 2TiB",
        "no live executor of pool default has both 3.5 cores and memory of 2048MiB",
        "no live executor of pool default has both 3.5 cores and disk space of 2GiB",
        None,
        None,
    ]
