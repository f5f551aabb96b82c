"""Applying definitions: all or nothing, and what survives an edit."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from scheduler.clock import VirtualClock
from scheduler.definitions.load import load
from scheduler.definitions.model import Definitions
from scheduler.errors import ConflictError, NotFoundError
from scheduler.store import control, reading
from scheduler.store.definitions import apply, delete_job, list_definitions, set_pool
from scheduler.store.doorbell import CANCEL, DEFINITIONS, WORK, Doorbell
from scheduler.store.stores import Store, Stores

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
TENANT = "default"


@pytest.fixture
async def store(database_url: str) -> AsyncIterator[Store]:
    stores = await Stores.open(database_url, name="test", size=2)
    yield stores.main
    await stores.close()


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock(NOW)


@pytest.fixture
def write(tmp_path: Path) -> Any:
    def definitions(jobs: str, source: str = "here", top: str = "") -> Definitions:
        file = tmp_path / "jobs.yaml"
        file.write_text(f"version: 1\nsource: {source}\n{top}\njobs:\n{jobs}")
        return load([file])

    return definitions


EVERY = "  a: {run: {command: [x]}, triggers: [{every: 1h, id: hourly}, {cron: '0 2 * * *'}]}\n"
B = "  b: {run: {command: [x]}, needs: [a]}\n"


async def triggers(store: Store, job: str = "a") -> dict[str, dict[str, Any]]:
    return {row["key"]: row for row in (await reading.get_job(store, TENANT, job))["triggers"]}


async def value(store: Store, query: str, *arguments: Any) -> Any:
    async with store.connection() as db:
        return await db.fetchval(query, *arguments)


async def test_the_first_apply_makes_versions_triggers_and_rings(store: Store, clock: VirtualClock, write: Any) -> None:
    async with Doorbell(store.dsn, DEFINITIONS, name="test") as bell:
        result = await apply(store, write(EVERY + B), prune=False, clock=clock)
        assert await bell.wait(clock, 1.0) == [(DEFINITIONS, TENANT)]  # the virtual clock never ends the wait

    rows = await triggers(store)
    assert result.created == ["a", "b"]
    assert rows["hourly"]["next_at"] == NOW + timedelta(hours=1)
    assert {row["last_at"] for row in rows.values()} == {row["anchor_at"] for row in rows.values()} == {NOW}
    assert await value(store, "SELECT revision FROM tenants") == 1


async def test_the_same_again_changes_nothing(store: Store, clock: VirtualClock, write: Any) -> None:
    await apply(store, write(EVERY + B), prune=True, clock=clock)

    result = await apply(store, write(EVERY + B), prune=True, clock=clock)

    assert (result.created, result.changed, result.removed) == ([], [], [])
    assert result.unchanged == ["a", "b"]
    assert await value(store, "SELECT revision FROM tenants") == 1
    assert await value(store, "SELECT count(*) FROM job_versions") == 2


async def test_a_cursor_survives_edits_of_everything_else(store: Store, clock: VirtualClock, write: Any) -> None:
    await apply(store, write(EVERY), prune=False, clock=clock)
    before = await triggers(store)
    await clock.advance(timedelta(minutes=10))

    edited = EVERY.replace("0 2 *", "0 3 *").replace("command: [x]", "command: [y]")
    result = await apply(store, write(edited), prune=False, clock=clock)
    after = await triggers(store)

    assert result.changed == ["a"]
    assert after["hourly"] == before["hourly"]
    assert len(after) == 2
    assert (await reading.get_job(store, TENANT, "a"))["version"] == 2


async def test_new_times_are_planned_from_the_change_on_and_what_was_due_is_superseded(
    store: Store, clock: VirtualClock, write: Any
) -> None:
    """Two and a half hours without a Ticker, then the trigger is edited: nothing is silently dropped."""
    await apply(store, write(EVERY), prune=False, clock=clock)
    clock.jump(NOW + timedelta(hours=2, minutes=30))

    await apply(store, write(EVERY.replace("1h", "15m")), prune=False, clock=clock)

    hourly = (await triggers(store))["hourly"]
    assert hourly["last_at"] == clock.now()
    assert hourly["next_at"] == clock.now() + timedelta(minutes=15)
    ledger = await reading.list_firings(store, TENANT, "a", after=None, limit=10)
    assert [(row["verdict"], row["fires_at"], row["to_at"], row["count"]) for row in ledger] == [
        ("superseded", NOW + timedelta(hours=1), NOW + timedelta(hours=2), 2)
    ]


async def test_a_new_time_zone_of_the_job_replans_its_triggers(store: Store, clock: VirtualClock, write: Any) -> None:
    daily = "  a: {run: {command: [x]}, triggers: [{cron: '0 2 * * *', id: daily}]}\n"
    await apply(store, write(daily), prune=False, clock=clock)

    await apply(store, write(daily.replace("{run", "{timezone: Asia/Tokyo, run")), prune=False, clock=clock)

    assert (await triggers(store))["daily"]["next_at"] == datetime(2026, 3, 1, 17, 0, tzinfo=UTC)


async def test_prune_removes_what_the_same_source_applied_and_reviving_keeps_the_id(
    store: Store, clock: VirtualClock, write: Any
) -> None:
    await apply(store, write(EVERY), prune=False, clock=clock)
    await apply(store, write("  other: {run: {command: [x]}}\n", source="there"), prune=True, clock=clock)
    first = await value(store, "SELECT id FROM jobs WHERE name = 'a'")

    removed = await apply(store, write("  c: {run: {command: [x]}}\n"), prune=True, clock=clock)
    gone = set(await list_definitions(store, TENANT))
    active = await value(store, "SELECT count(*) FROM triggers WHERE active")
    back = await apply(store, write(EVERY), prune=False, clock=clock)

    assert (removed.removed, gone, active) == (["a"], {"c", "other"}, 0)
    assert back.created == ["a"]
    assert await value(store, "SELECT id FROM jobs WHERE name = 'a'") == first
    assert all(row["active"] for row in (await triggers(store)).values())
    assert (await reading.get_job(store, TENANT, "a"))["version"] == 1


async def test_a_job_that_others_need_stays(store: Store, clock: VirtualClock, write: Any) -> None:
    await apply(store, write(EVERY + B), prune=False, clock=clock)

    with pytest.raises(ConflictError, match="job b needs a"):
        await delete_job(store, TENANT, "a", clock=clock)

    await delete_job(store, TENANT, "b", clock=clock)
    assert set(await list_definitions(store, TENANT)) == {"a"}


async def test_a_cycle_over_two_sources_is_refused_with_its_path(store: Store, clock: VirtualClock, write: Any) -> None:
    await apply(store, write(EVERY + B), prune=False, clock=clock)
    turned = write("  b: {run: {command: [x]}}\n  a: {run: {command: [x]}, needs: [b]}\n", source="there")
    turned.jobs.pop("b")

    with pytest.raises(ConflictError, match=r"a → b → a|b → a → b"):
        await apply(store, turned, prune=False, clock=clock)

    assert (await reading.get_job(store, TENANT, "a"))["version"] == 1


async def test_an_unknown_pool_is_refused_until_it_is_made(store: Store, clock: VirtualClock, write: Any) -> None:
    wanted = write("  a: {run: {command: [x]}, pool: gpu}\n")

    with pytest.raises(ConflictError, match="scheduler pool set gpu"):
        await apply(store, wanted, prune=False, clock=clock)

    assert await set_pool(store, "gpu", 10)
    assert not await set_pool(store, "gpu", 10)
    assert (await apply(store, wanted, prune=False, clock=clock)).created == ["a"]


async def test_what_people_did_to_a_job_outlives_an_apply(store: Store, clock: VirtualClock, write: Any) -> None:
    await apply(store, write(EVERY), prune=False, clock=clock)
    await control.enable_job(store, TENANT, "a", enabled=False, clock=clock)
    await control.pause_job(store, TENANT, "a", note="why", clock=clock)

    await apply(store, write(EVERY.replace("[x]", "[y]")), prune=False, clock=clock)

    job = await reading.get_job(store, TENANT, "a")
    assert (job["enabled"], job["paused"]) == (False, True)
    assert not any(row["active"] for row in job["triggers"])


async def test_resume_tells_the_ticker_up_to_when_it_was_held(store: Store, clock: VirtualClock, write: Any) -> None:
    await apply(store, write(EVERY), prune=False, clock=clock)
    await control.pause_all(store, TENANT, clock=clock)
    await clock.advance(timedelta(hours=3))

    assert await control.resume_all(store, TENANT, clock=clock)

    held = await value(store, "SELECT min(held_until) FROM triggers WHERE active")
    assert held == clock.now()
    assert not await control.resume_all(store, TENANT, clock=clock)


async def test_triggering_writes_an_event_and_a_firing_owed_a_verdict(
    store: Store, clock: VirtualClock, write: Any
) -> None:
    await apply(store, write(EVERY + B), prune=False, clock=clock)

    async with Doorbell(store.dsn, WORK, name="test") as bell:
        asked = await control.trigger_jobs(store, TENANT, ["b", "a", "b"], params={"n": 1}, clock=clock)
        assert (await bell.wait(clock, 1.0))[0][0] == WORK

    assert [firing.job for firing in asked] == ["b", "a"]
    rows = await reading.list_firings(store, TENANT, None, after=None, limit=10)
    found = {(row["kind"], row["verdict"], row["fires_at"], row["zone"]) for row in rows}
    assert found == {("manual", None, NOW, "UTC")}
    assert await value(store, "SELECT topic FROM events") == "job.trigger"
    with pytest.raises(NotFoundError, match="nobody"):
        await control.trigger_jobs(store, TENANT, ["a", "nobody"], params=None, clock=clock)
    assert await value(store, "SELECT count(*) FROM firings") == 2


RUN = """
INSERT INTO runs (id, tenant, job_id, job_version, job_name, flow_id, fired_at, state, pool, priority, has_downstream,
                  finished_at, owner, lease_until, lease_token, params)
SELECT gen_random_uuid(), tenant, id, 1, name, gen_random_uuid(), now(), $1, 'default', 2, true,
       CASE WHEN $1 IN ('succeeded', 'failed', 'cancelled', 'skipped') THEN now() END,
       gen_random_uuid(), now(), gen_random_uuid(), '{"a": 1}' FROM jobs WHERE name = 'a' RETURNING id
"""


@pytest.mark.parametrize("state", ["waiting", "ready", "queued", "backing_off"])
async def test_cancel_ends_a_run_that_nobody_holds(store: Store, clock: VirtualClock, write: Any, state: str) -> None:
    await apply(store, write(EVERY), prune=False, clock=clock)
    run = await value(store, RUN, state)

    assert await control.cancel_run(store, TENANT, run, reason="enough") == "cancelled"

    row = await reading.get_run(store, TENANT, run)
    assert (row["state"], row["reason"]) == ("cancelled", "enough")
    assert await value(store, "SELECT sweep_at <= now() FROM runs")
    with pytest.raises(ConflictError, match="is cancelled"):
        await control.cancel_run(store, TENANT, run, reason="again")


async def test_cancel_of_a_running_run_is_a_wish(store: Store, clock: VirtualClock, write: Any) -> None:
    await apply(store, write(EVERY), prune=False, clock=clock)
    run = await value(store, RUN, "running")

    async with Doorbell(store.dsn, CANCEL, name="test") as bell:
        assert await control.cancel_run(store, TENANT, run, reason="enough") == "running"
        assert await bell.wait(clock, 1.0) == [(CANCEL, f"{TENANT} {run}")]

    assert (await reading.get_run(store, TENANT, run))["cancel_reason"] == "enough"


async def test_retry_asks_once_and_only_for_runs_that_are_over(store: Store, clock: VirtualClock, write: Any) -> None:
    await apply(store, write(EVERY), prune=False, clock=clock)
    running, failed = await value(store, RUN, "running"), await value(store, RUN, "failed")

    await control.retry_run(store, TENANT, failed, clock=clock)

    for run, why in ((running, "is running"), (failed, "is being retried")):
        with pytest.raises(ConflictError, match=why):
            await control.retry_run(store, TENANT, run, clock=clock)
    firing = (await reading.list_firings(store, TENANT, "a", after=None, limit=1))[0]
    assert (firing["kind"], firing["retry_of"]) == ("retry", failed)
    assert await value(store, "SELECT params FROM firings") == {"a": 1}


async def test_a_dead_run_is_discarded_once(store: Store, clock: VirtualClock, write: Any) -> None:
    await apply(store, write(EVERY), prune=False, clock=clock)
    failed, done = await value(store, RUN, "failed"), await value(store, RUN, "succeeded")
    assert [row["id"] for row in await reading.list_dead(store, TENANT, after=None, limit=5)] == [failed]

    await control.discard_run(store, TENANT, failed)

    assert await reading.list_dead(store, TENANT, after=None, limit=5) == []
    for run in (failed, done):
        with pytest.raises(ConflictError):
            await control.discard_run(store, TENANT, run)
    with pytest.raises(ConflictError, match="discarded"):
        await control.retry_run(store, TENANT, failed, clock=clock)


async def test_another_tenant_sees_nothing_of_it(store: Store, clock: VirtualClock, write: Any) -> None:
    await apply(store, write(EVERY), prune=False, clock=clock)
    run = await value(store, RUN, "failed")

    with pytest.raises(NotFoundError):
        await reading.get_run(store, "other", run)
    with pytest.raises(NotFoundError):
        await control.cancel_run(store, "other", run, reason="x")
    assert await reading.list_jobs(store, "other") == []
    assert await reading.list_runs(store, "other", reading.RunFilter()) == []


async def test_runs_are_paged_and_filtered(store: Store, clock: VirtualClock, write: Any) -> None:
    await apply(store, write(EVERY), prune=False, clock=clock)
    for state in ("failed", "succeeded", "failed"):
        await value(store, RUN, state)

    first = await reading.list_runs(store, TENANT, reading.RunFilter(limit=2))
    rest = await reading.list_runs(store, TENANT, reading.RunFilter(after=first[-1]["id"]))
    failed = await reading.list_runs(store, TENANT, reading.RunFilter(job="a", states=["failed"]))

    assert len({row["id"] for row in (*first, *rest)}) == 3
    assert len(failed) == 2
    assert await reading.list_runs(store, TENANT, reading.RunFilter(since=datetime.now(UTC) + timedelta(days=1))) == []
