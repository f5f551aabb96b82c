"""Who reads runs sees those of history among the others: the same rows, in the same order."""

import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from scheduler.clock import SystemClock
from scheduler.store.backfill import get_backfill, list_instants
from scheduler.store.feed import list_feed
from scheduler.store.ledger import measure_lateness
from scheduler.store.moving import Place, move_tenant
from scheduler.store.reading import (
    RunFilter,
    get_flow,
    get_run,
    list_outputs,
    list_runs,
    list_runs_between,
    list_verdicts,
)
from scheduler.store.retaining import Done
from scheduler.store.stats import measure_runs
from scheduler.store.why import ask_gates
from tests.support.history import fill
from tests.support.retaining import Kept, opened

ALL = "SELECT id FROM runs UNION ALL SELECT id FROM past_runs ORDER BY id DESC"


@pytest.fixture
async def kept(database_url: str) -> AsyncIterator[Kept]:
    async with opened(database_url) as found:
        await fill(found.db, 200, newest="2 hours", over="5 days", jobs=2)
        yield found


async def pages(kept: Kept, **filters: Any) -> list[dict[str, Any]]:
    """Return all runs that a filter lets through, page by page."""
    found: list[dict[str, Any]] = []
    while True:
        after = found[-1]["id"] if found else None
        page = await list_runs(kept.owner.main, "default", RunFilter(after=after, limit=17, **filters))
        found += page
        if len(page) < 17:
            return found


FILTERS: list[dict[str, Any]] = [
    {},
    {"job": "job1"},
    {"states": ["failed"]},
    {"states": ["succeeded", "running"]},
    {"states": ["running"]},
    {"job": "job0", "states": ["failed"]},
    {"since": datetime.now(UTC) - timedelta(days=2)},
    {"job": "no such job"},
]


@pytest.mark.parametrize("filters", FILTERS, ids=lambda filters: ", ".join(filters) or "none")
async def test_lists_show_what_they_showed_before_the_move(kept: Kept, filters: dict[str, Any]) -> None:
    # Dead runs and the newest of each job stay at hand: the two places interleave.
    await kept.db.execute("UPDATE runs SET discarded_at = NULL WHERE state = 'failed' AND job_name = 'job0'")
    before = await pages(kept, **filters)

    assert (await kept.retain()).moved_runs > 100

    assert await pages(kept, **filters) == before


async def test_one_run_is_shown_as_it_was(kept: Kept) -> None:
    one = await kept.db.fetchval("SELECT id FROM runs WHERE state = 'failed' ORDER BY id LIMIT 1")
    upstream = await kept.db.fetchval("SELECT id FROM runs ORDER BY id OFFSET 3 LIMIT 1")
    await kept.db.execute(
        """INSERT INTO run_edges (run_id, upstream_job_id, tenant, upstream_run_id, condition, state, delay)
           SELECT $1, job_id, tenant, id, 'succeeded', 'met', '5 minutes' FROM runs
           WHERE id = $2""", one, upstream)  # fmt: skip
    await kept.db.execute("INSERT INTO flow_joins (flow_id, run_id, tenant) VALUES ($1, $2, 'default')", one, upstream)
    await kept.db.execute(
        """UPDATE runs SET result = '{"a": [1, null]}', params = 'null', reason = 'x' WHERE id = $1""", one
    )
    store = kept.owner.main

    async def look() -> list[Any]:
        return [
            await get_run(store, "default", one),
            await list_outputs(store, "default", one),
            await get_flow(store, "default", one),
            await list_verdicts(store, [one]),
            await list_runs_between(store, "default", one, one, limit=5),
            (await ask_gates(store, "default", one, lease_s=30.0)).state,
        ]

    before = await look()
    await kept.retain()

    assert await kept.db.fetchval("SELECT count(*) FROM runs WHERE id = $1", one) == 0
    assert await look() == before
    assert [run["id"] for run in before[2]["runs"]] == sorted([one, upstream])


async def test_what_is_counted_is_counted_with_history(kept: Kept) -> None:
    since, until = datetime.now(UTC) - timedelta(days=30), datetime.now(UTC)
    store = kept.owner.main

    async def look() -> list[Any]:
        return [
            (await measure_runs(store, "default", since=since)).jobs,
            await measure_lateness(store, "default", None, since=since, until=until),
        ]

    before = await look()
    await kept.retain()

    assert await look() == before
    assert [row["runs"] for row in before[0]] == [100, 100]


async def test_a_backfill_tells_of_its_runs(kept: Kept) -> None:
    backfill = uuid.uuid4()
    await kept.db.execute(
        """INSERT INTO backfills (id, tenant, job_id, from_at, to_at, again, max_parallel, priority, instants,
                                  released,
                                  finished_at)
           SELECT $1, tenant, id, now(), now(), false, 1, 4, 200, 200, now()
           FROM jobs LIMIT 1""", backfill)  # fmt: skip
    await kept.db.execute(
        """INSERT INTO backfill_instants (backfill_id, position, tenant, trigger_id, fires_at, wall_time, zone,
                                          job_version,
                                          in_force, run_id)
           SELECT $1, row_number() OVER (), tenant, job_id, fired_at, id::text, 'UTC', 1, true, id
           FROM runs""", backfill)  # fmt: skip
    store = kept.owner.main
    before = [
        await get_backfill(store, "default", backfill),
        await list_instants(store, "default", backfill, after=None, limit=500),
    ]

    await kept.retain()

    after = [
        await get_backfill(store, "default", backfill),
        await list_instants(store, "default", backfill, after=None, limit=500),
    ]
    assert after == before
    assert sum(before[0]["runs"].values()) == 200  # type: ignore[call-overload]


async def test_the_feed_tells_of_runs_in_history(kept: Kept) -> None:
    await kept.db.execute(
        """INSERT INTO feed (tenant, fact, ids, job_ids)
           SELECT tenant, 'run.' || state, array_agg(id), array_agg(job_id) FROM runs
           GROUP BY tenant, state ORDER BY state""")  # fmt: skip
    before = await list_feed(kept.owner.main, None, tenant="default", limit=500)

    await kept.retain()

    after = await list_feed(kept.owner.main, None, tenant="default", limit=500)
    assert [fact.event for fact in after.facts] == [fact.event for fact in before.facts]
    assert len(after.facts) == 200


async def test_a_tenant_sees_no_history_of_another(kept: Kept) -> None:
    await fill(kept.db, 50, newest="2 hours", over="5 days", job="theirs", tenant="other")
    await kept.retain()

    rows = await list_runs(kept.owner.main, "other", RunFilter(limit=500))

    assert {row["job"] for row in rows} == {"theirs0"}
    assert len(rows) == 50


async def test_history_moves_with_its_tenant(kept: Kept, empty_database_url: str) -> None:
    await fill(kept.db, 50, newest="2 hours", over="5 days", job="theirs", tenant="other")
    await kept.retain()
    before = await list_runs(kept.owner.main, "other", RunFilter(limit=500))
    place = Place("{env:OTHER}", empty_database_url)

    await move_tenant(kept.owner.main, "other", place, drain_s=1.0, clock=SystemClock())

    async with opened(empty_database_url) as apart:
        assert await list_runs(apart.owner.main, "other", RunFilter(limit=500)) == before
        assert (await apart.classes()).keys() == {7, 90}
        assert await apart.retain() == Done()
    assert await kept.db.fetchval("SELECT count(*) FROM past_runs WHERE tenant = 'other'") == 0
