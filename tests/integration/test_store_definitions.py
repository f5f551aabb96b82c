"""Applying definitions: all or nothing, and what survives an edit."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from scheduler.clock import VirtualClock
from scheduler.definitions.load import load
from scheduler.definitions.model import Definitions
from scheduler.errors import ConflictError
from scheduler.store import control, reading
from scheduler.store.definitions import apply, delete_job, list_definitions
from scheduler.store.doorbell import DEFINITIONS, Doorbell
from scheduler.store.ledger import FiringFilter, list_firings
from scheduler.store.pools import set_pool
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
    ledger = await list_firings(store, TENANT, FiringFilter("a", limit=10))
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
