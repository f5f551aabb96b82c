"""A firing is written down and, if nothing holds it, decided shortly before its instant; nothing starts before it."""

import contextlib
import uuid
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from scheduler.store.definitions import delete_job
from scheduler.store.offering import Pace
from schemas.facts import FiringDue
from schemas.registry import parse, split
from tests.support.engine import Engine, engine
from tests.support.ticking import START, Stage


async def test_ticker_writes_what_is_due_within_its_lead_and_says_when_to_decide(stage: Stage) -> None:
    ticker = await stage.ticker()
    await stage.apply(job=[{"every": "10s"}])
    heard = await stage.transport.consumer("scheduler.dispatcher.firings", credit=10, name="test")

    stage.clock.jump(START + timedelta(seconds=9.94))
    await ticker.tick(stage.stores.main)
    assert [] == await stage.ledger()
    stage.clock.jump(START + timedelta(seconds=9.96))
    await ticker.tick(stage.stores.main)
    await ticker.tick(stage.stores.main)

    assert [(10.0, None, 1, None)] == await stage.ledger()
    said = parse(split((await heard.take(1))[0].body)[0])
    assert isinstance(said, FiringDue)
    assert said.fires_at == START + timedelta(seconds=10)
    swept_at = await stage.db.fetchval("SELECT sweep_at FROM firings")
    assert swept_at >= START + timedelta(seconds=15)


async def test_firing_planned_ahead_is_not_late_however_short_its_window(stage: Stage) -> None:
    ticker = await stage.ticker()
    stage.catch_up = {"window": "0s"}
    await stage.apply(job=[{"every": "10s"}])

    stage.clock.jump(START + timedelta(seconds=9.96))
    await ticker.tick(stage.stores.main)
    stage.clock.jump(START + timedelta(seconds=20.005))
    await ticker.tick(stage.stores.main)

    assert [(10.0, None, 1, None), (20.0, None, 1, None)] == await stage.ledger()


async def test_ticker_wakes_before_the_instant(stage: Stage) -> None:
    ticker = await stage.ticker()
    await stage.apply(job=[{"at": (START + timedelta(seconds=1)).isoformat()}])

    assert await ticker._until_next(stage.stores.main) == pytest.approx(0.95)


async def test_pause_within_the_lead_takes_the_firing_back(stage: Stage) -> None:
    ticker = await stage.ticker()
    await stage.apply(job=[{"every": "10s", "max_fires": 1}])
    stage.clock.jump(START + timedelta(seconds=9.97))
    await ticker.tick(stage.stores.main)

    await stage.pause("job")
    assert [] == await stage.ledger()
    stage.clock.jump(START + timedelta(seconds=19))
    await ticker.tick(stage.stores.main)
    await stage.resume("job")
    await ticker.tick(stage.stores.main)

    assert [(10.0, None, 1, None)] == await stage.ledger()


@pytest.mark.parametrize("key", [{}, {"id": "same"}], ids=["another", "same"])
async def test_edit_within_the_lead_leaves_one_firing(stage: Stage, key: dict[str, object]) -> None:
    ticker = await stage.ticker()
    await stage.apply(job=[{**key, "cron": "*/10 * * * * *", "seconds": True, "max_fires": 1}])
    stage.clock.jump(START + timedelta(seconds=9.97))
    await ticker.tick(stage.stores.main)

    await stage.apply(job=[{**key, "cron": "*/5 * * * * *", "seconds": True, "max_fires": 1}])
    await ticker.tick(stage.stores.main)

    assert [(10.0, None, 1, None)] == await stage.ledger()
    assert 2 == await stage.db.fetchval("SELECT job_version FROM firings")


async def test_removal_within_the_lead_leaves_no_firing(stage: Stage) -> None:
    ticker = await stage.ticker()
    await stage.apply(job=[{"every": "10s"}])
    stage.clock.jump(START + timedelta(seconds=9.97))
    await ticker.tick(stage.stores.main)

    await delete_job(stage.stores.main, "default", "job", clock=stage.clock)

    assert [] == await stage.ledger()


async def test_nothing_is_offered_before_its_instant(database_url: str) -> None:
    async with engine(database_url) as stage:
        await stage.apply(
            tick={"run": {"command": ["true"]}, "overlap": "allow", "triggers": [{"every": "110ms"}]},
            limited={"run": {"command": ["true"]}, "overlap": "allow", "concurrency": {"key": "k", "limit": 5},
                     "triggers": [{"every": "130ms", "max_fires": 20}]},
        )  # fmt: skip
        await stage.settled(40)
        await stage.heard(lambda: any(offer.starts_at for offer in stage.executor.offers if offer.order.job == "tick"))

        early = "SELECT count(*) FROM runs WHERE claimed_at < fired_at"
        assert await stage.db.fetchval(early) == 0
        ahead = "SELECT max(fires_at - decided_at) FROM firings WHERE decided_at < fires_at"
        assert await stage.db.fetchval(ahead) < timedelta(milliseconds=15)


async def test_only_what_starts_at_once_is_decided_before_its_instant(database_url: str) -> None:
    async with engine(database_url, alive=False) as stage:
        await stage.executor.beat()
        await stage.until("SELECT 1 FROM executors")
        plain = {"run": {"command": ["true"]}}
        await stage.apply(
            free=plain,
            held=plain,
            limited={**plain, "concurrency": {"key": "k", "limit": 1}},
            joins=plain,
            other=plain,
            joined={**plain, "needs": ["joins", "other"]},
        )
        await stage.fire("held")
        await stage.fire("other")
        await stage.until("SELECT count(*) FROM runs", holds=lambda found: found == 3)
        names = ["free", "held", "limited", "joins"]
        ids = [await _write_firing(stage, name) for name in names]

        deciding = stage.dispatcher._deciding["main"]
        async with stage.stores.main.transaction() as db:
            decided = await deciding.decide_ahead(db, ids, lambda _: Pace(30.0, 30.0))

        offered = [offer.order.job for filled in decided.filled.values() for offer in filled.offers]
        assert offered == ["free"]
        verdicts = await stage.db.fetch("SELECT id, verdict FROM firings WHERE id = ANY ($1)", ids)
        assert dict(map(tuple, verdicts)) == dict(zip(ids, ["started", None, None, None], strict=True))


async def _write_firing(stage: Engine, job: str) -> uuid.UUID:
    """Write a firing that nobody has been told of, and that no sweep looks at for an hour."""
    firing_id: uuid.UUID = await stage.db.fetchval(
        """INSERT INTO firings (id, tenant, kind, job_id, job_version, fires_at, wall_time, zone, sweep_at)
           SELECT gen_random_uuid(), tenant, 'manual', id, version, now(), 'x', 'UTC', now() + interval '1 hour'
           FROM jobs WHERE name = $1 RETURNING id""",
        job,
    )
    return firing_id


async def test_firing_that_seems_far_off_has_another_clock_and_is_not_held_for_long(database_url: str) -> None:
    async with engine(database_url, alive=False) as stage:
        await stage.apply(job={"run": {"command": ["true"]}})
        firing_id = await _write_firing(stage, "job")

        later = datetime.now(UTC) + timedelta(days=1)
        await stage.dispatcher.on_firings([FiringDue(tenant="default", firing_id=firing_id, fires_at=later)])

        assert await stage.db.fetchval("SELECT verdict FROM firings WHERE id = $1", firing_id) == "started"


async def test_transaction_that_need_not_be_flushed_is_one_all_the_same(database_url: str) -> None:
    async with engine(database_url, alive=False) as stage:
        store = stage.stores.main
        async with store.transaction(flush=False) as db:
            assert await db.fetchval("SHOW synchronous_commit") == "off"
            await db.execute("INSERT INTO pools (name) VALUES ('kept')")
        with contextlib.suppress(asyncpg.UniqueViolationError):
            async with store.transaction(flush=False) as db:
                await db.execute("INSERT INTO pools (name) VALUES ('undone')")
                await db.execute("INSERT INTO pools (name) VALUES ('default')")
        async with store.transaction() as db:
            assert await db.fetchval("SHOW synchronous_commit") == "on"

        assert ["default", "kept"] == [row["name"] for row in await stage.db.fetch("SELECT name FROM pools ORDER BY 1")]
