"""What moves to history, when, and what stays at hand, on a real database."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from scheduler.clock import SystemClock
from scheduler.errors import ConflictError
from scheduler.roles import ACTOR_ROLES
from scheduler.store.control import discard_run, retry_run
from scheduler.store.pool import connect
from scheduler.store.reading import get_run
from scheduler.store.retaining import Done
from scheduler.store.roles import as_role
from tests.support.engine import engine
from tests.support.history import fill, ids
from tests.support.retaining import Kept, opened


@pytest.fixture
async def kept(database_url: str) -> AsyncIterator[Kept]:
    async with opened(database_url) as found:
        yield found


async def test_ended_runs_move_to_the_class_of_their_state(kept: Kept) -> None:
    await fill(kept.db, 100, newest="2 hours", over="1 day")

    done = await kept.retain()

    # Every twentieth has failed; the newest ten stay at hand.
    assert (done.moved_runs, done.moved_attempts) == (90, 90)
    assert await kept.classes() == {7: 86, 90: 4}
    assert await kept.db.fetchval("SELECT count(*) FROM runs") == 10
    for table in ("flows", "attempts"):
        assert await kept.db.fetchval(f"SELECT count(*) FROM {table}") == 10
    assert await kept.db.fetchval("SELECT count(*) FROM past_attempts") == 90
    assert await kept.db.fetchval("SELECT count(*) FROM firings") == 100


async def test_what_a_job_says_of_its_runs_holds(kept: Kept) -> None:
    await fill(kept.db, 60, newest="2 hours", over="1 day", spec={"retention": {"succeeded": "20d", "failed": "1d"}})

    await kept.retain()

    assert await kept.classes() == {7: 2, 30: 48}


async def test_a_second_pass_finds_nothing_left_to_do(kept: Kept) -> None:
    await fill(kept.db, 100, newest="2 hours", over="40 days")
    await kept.retain()
    before = await kept.classes()

    again = await kept.retain()

    assert again == Done()
    assert await kept.classes() == before


async def test_partitions_are_dropped_whole_when_all_their_runs_are_over(kept: Kept) -> None:
    await fill(kept.db, 400, newest="2 hours", over="100 days")

    done = await kept.retain()

    oldest = await kept.db.fetch("SELECT class, min(finished_at) AS at FROM past_runs GROUP BY class ORDER BY class")
    ages = {row["class"]: datetime.now(UTC) - row["at"] for row in oldest}
    assert timedelta(days=6) < ages[7] < timedelta(days=8)
    assert timedelta(days=80) < ages[90] < timedelta(days=91)
    assert done.dropped_partitions > 90
    assert done.dropped_runs + sum((await kept.classes()).values()) == done.moved_runs
    tables = await kept.db.fetchval("SELECT count(*) FROM pg_class WHERE relispartition AND relkind = 'r'")
    assert tables == 2 * await kept.db.fetchval("SELECT count(*) FROM history_days WHERE dropped_at IS NULL")


HELD = {
    "is not over": "UPDATE runs SET state = 'ready', finished_at = NULL WHERE id = $1",
    "has just ended": "UPDATE runs SET finished_at = now() - interval '10 minutes' WHERE id = $1",
    "owes a step": "UPDATE runs SET sweep_at = now() WHERE id = $1",
    "is dead": "UPDATE runs SET state = 'failed', discarded_at = NULL WHERE id = $1",
    "is unique for a while": "UPDATE runs SET unique_key = 'k' WHERE id = $1",
    "is of an open backfill": """
        WITH b AS (INSERT INTO backfills (id, tenant, job_id, from_at, to_at, again, max_parallel, priority, instants,
                                          sweep_at)
                   SELECT id, tenant, job_id, now(), now(), false, 1, 4, 1, now() FROM runs WHERE id = $1)
        UPDATE runs SET backfill_id = id WHERE id = $1""",
    "is about to be retried": """
        INSERT INTO firings (id, tenant, kind, job_id, job_version, fires_at, wall_time, zone, retry_of, sweep_at)
        SELECT gen_random_uuid(), tenant, 'retry', job_id, 1, now(), 'w', 'UTC', id, now()
        FROM runs WHERE id = $1""",
    "has an open downstream": """
        WITH d AS (INSERT INTO runs (id, tenant, job_id, job_version, job_name, flow_id, fired_at, state, pool,
                                     priority)
                   SELECT gen_random_uuid(), tenant, job_id, 1, 'd', gen_random_uuid(), now(), 'waiting', 'default', 2
                   FROM runs WHERE id = $1 RETURNING id, tenant)
        INSERT INTO run_edges (run_id, upstream_job_id, tenant, upstream_run_id, condition)
        SELECT d.id, r.job_id, d.tenant, r.id, 'succeeded' FROM d, runs AS r WHERE r.id = $1""",
    "belongs to a flow that goes on": """
        INSERT INTO runs (id, tenant, job_id, job_version, job_name, flow_id, fired_at, state, pool, priority)
        SELECT gen_random_uuid(), tenant, job_id, 1, 'd', flow_id, now(), 'waiting', 'default', 2
        FROM runs WHERE id = $1""",
}


@pytest.mark.parametrize("why", HELD)
async def test_a_run_stays_at_hand_that(kept: Kept, why: str) -> None:
    await fill(kept.db, 31, newest="2 hours", over="2 hours", spec={"unique": {"key": "x", "within": "1d"}})
    one = await kept.db.fetchval("SELECT id FROM runs WHERE state = 'succeeded' ORDER BY id LIMIT 1")
    await kept.db.execute(HELD[why], one)

    done = await kept.retain()

    assert await kept.db.fetchval("SELECT count(*) FROM runs WHERE id = $1", one) == 1
    assert await kept.db.fetchval("SELECT count(*) FROM attempts WHERE run_id = $1", one) == 1
    assert done.moved_runs >= 19, "all others"


async def test_a_dead_run_goes_when_its_time_is_over(kept: Kept) -> None:
    await fill(kept.db, 40, newest="91 days", over="1 hour")
    await kept.db.execute("UPDATE runs SET discarded_at = NULL")

    await kept.retain()

    assert await kept.db.fetchval("SELECT count(*) FROM runs") == 1, "the job's last run"
    assert await kept.classes() == {}


async def test_runs_that_pause_after_counts_stay_at_hand(kept: Kept) -> None:
    await fill(kept.db, 60, newest="2 hours", over="2 hours", spec={"pause_after": 25})
    await kept.db.execute(
        "UPDATE runs SET state = 'cancelled' WHERE id IN (SELECT id FROM runs ORDER BY id DESC LIMIT 5)"
    )

    await kept.retain()

    assert await kept.db.fetchval("SELECT count(*) FROM runs WHERE state IN ('succeeded', 'failed')") == 25


async def test_a_flow_in_somebodys_hand_is_left_for_the_next_day(kept: Kept, database_url: str) -> None:
    await fill(kept.db, 30, newest="2 hours", over="2 hours")
    one = await kept.db.fetchval("SELECT id FROM runs ORDER BY id LIMIT 1")
    other = await connect(database_url, name="other")
    try:
        async with other.transaction():
            await other.execute("SELECT FROM runs WHERE id = $1 FOR UPDATE", one)
            assert (await kept.retain()).moved_runs == 19
        assert (await kept.retain()).moved_runs == 1
    finally:
        await other.close()


async def test_two_movers_move_every_run_once(kept: Kept, database_url: str) -> None:
    """One holds the turn of a store in its transaction; the other does not wait, and leaves it the rest."""
    await fill(kept.db, 50, newest="2 hours", over="2 hours")
    other = await connect(database_url, name="other")
    try:
        async with other.transaction():
            await other.execute("SELECT pg_advisory_xact_lock(hashtext('scheduler.history'))")
            assert (await kept.retain()).moved_runs == 0
    finally:
        await other.close()
    assert (await kept.retain()).moved_runs == 40


async def test_a_run_that_comes_after_its_day_was_dropped_gets_a_new_one(kept: Kept) -> None:
    await fill(kept.db, 40, newest="30 days", over="1 hour")
    await kept.retain()
    await fill(kept.db, 40, newest="30 days", over="1 hour", job="late")
    await kept.db.execute("UPDATE runs SET finished_at = now() - interval '1 day', discarded_at = now() "
                          "WHERE job_name LIKE 'late%'")  # fmt: skip

    await kept.retain()

    rows: list[Any] = await kept.db.fetch(
        "SELECT class, generation, runs FROM history_days WHERE dropped_at IS NULL AND class = 7"
    )
    assert [row["generation"] for row in rows] in ([2], [2, 2])
    assert sum(row["runs"] for row in rows) == (await kept.classes())[7]


async def test_a_run_of_history_can_be_run_again(kept: Kept) -> None:
    await fill(kept.db, 30, newest="2 hours", over="2 hours")
    await kept.retain()
    one = await kept.db.fetchval("SELECT id FROM past_runs WHERE state = 'succeeded' ORDER BY id LIMIT 1")
    asked = await retry_run(kept.owner.main, "default", one, clock=SystemClock())
    assert await kept.db.fetchval("SELECT retry_of FROM firings WHERE id = $1", asked.firing_id) == one


async def test_a_run_of_history_is_run_again_once(kept: Kept, database_url: str) -> None:
    spec = {"run": {"command": ["true"]}, "overlap": "allow"}
    await fill(kept.db, 30, newest="2 hours", over="2 hours", spec=spec)
    await kept.retain()
    one, other = await ids(kept.db, "SELECT id FROM past_runs WHERE state = 'succeeded' ORDER BY id LIMIT 2")
    store, clock = kept.owner.main, SystemClock()

    asked = await asyncio.gather(
        *(retry_run(store, "default", one, clock=clock) for _ in range(3)), return_exceptions=True
    )
    assert sorted(type(one).__name__ for one in asked) == ["Asked", "ConflictError", "ConflictError"]
    async with engine(database_url) as stage:
        await retry_run(store, "default", other, clock=clock)
        await stage.until("SELECT count(*) = 2 FROM past_runs WHERE retried_by IS NOT NULL")

    shown = await get_run(store, "default", one)
    assert await kept.db.fetchval("SELECT retry_of FROM runs WHERE id = $1", shown["retried_by"]) == one
    with pytest.raises(ConflictError, match="was retried already, by run"):
        await retry_run(store, "default", one, clock=clock)


async def test_a_dead_run_of_history_is_discarded_once(kept: Kept) -> None:
    await fill(kept.db, 40, newest="2 days", over="2 hours", spec={"retention": {"failed": "1d"}})
    await kept.db.execute("UPDATE runs SET discarded_at = NULL WHERE state = 'failed'")
    await kept.retain()
    store = kept.owner.main
    dead = (await ids(kept.db, "SELECT id FROM past_runs WHERE state = 'failed'"))[0]

    await discard_run(store, "default", dead)

    assert (await get_run(store, "default", dead))["discarded_at"] is not None
    with pytest.raises(ConflictError, match="discarded already"):
        await discard_run(store, "default", dead)


async def test_only_the_ticker_may_change_history(kept: Kept, database_url: str) -> None:
    await fill(kept.db, 30, newest="2 hours", over="2 hours")
    await kept.retain()
    part = await kept.db.fetchval("SELECT relname FROM pg_class WHERE relispartition AND relkind = 'r' LIMIT 1")
    for actor, role in ACTOR_ROLES.items():
        db = await connect(as_role(database_url, role), name=actor)
        try:
            for statement in ("DELETE FROM past_runs", f"SELECT * FROM {part}", f"DROP TABLE {part}",
                              "DELETE FROM history_days", "SELECT make_history_day(7, '2026-01-01')"):  # fmt: skip
                with pytest.raises(asyncpg.InsufficientPrivilegeError):
                    await db.execute(statement)
        finally:
            await db.close()
