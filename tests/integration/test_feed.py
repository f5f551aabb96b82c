"""The feed in the database: every fact is in it, once, and no cursor passes one that is committed late."""

import asyncio
import random
import uuid

import asyncpg
import pytest

from scheduler.domain.trace import span_id_of
from scheduler.errors import CallerError, ConflictError
from scheduler.store.control import cancel_run, trigger_jobs
from scheduler.store.feed import Fact, FeedPage, feed_end, list_feed, prune_feed
from scheduler.store.pool import connect
from scheduler.store.stores import Store, Stores
from scheduler.store.telling import FED_EVERY_S
from schemas.facts import AttemptTold, Progress
from schemas.feed import FACTS, FiringData, RunData
from schemas.vocabulary import Outcome
from tests.support.engine import Engine, engine

TRUE = {"command": ["true"]}
INSERT = "INSERT INTO feed (tenant, fact, ids, job_ids) VALUES ($1, 'run.failed', $2, $2)"
MISSING = """
SELECT 'run.' || state || ' ' || id FROM runs
WHERE finished_at IS NOT NULL AND NOT EXISTS (SELECT FROM feed WHERE fact = 'run.' || state AND runs.id = ANY (ids))
UNION ALL
SELECT 'firing.' || verdict || ' ' || id FROM firings
WHERE verdict IS NOT NULL AND NOT EXISTS (SELECT FROM feed WHERE fact = 'firing.' || verdict AND firings.id = ANY (ids))
"""


async def everything(store: Store, after: str | None = None, limit: int = 3) -> list[FeedPage]:
    """Return pages until the feed says that there is no more."""
    pages = [await list_feed(store, after, tenant=None, limit=limit)]
    while pages[-1].more:
        pages.append(await list_feed(store, pages[-1].cursor, tenant=None, limit=limit))
    return pages


async def facts_of(stage: Engine) -> list[Fact]:
    """Return the facts that are committed; those behind a transaction that an actor has open come when it ends."""
    hidden = "SELECT count(*) FROM feed WHERE xid >= pg_snapshot_xmin(pg_current_snapshot())::text::bigint"
    await stage.until(hidden, holds=lambda found: found == 0)
    return [fact for page in await everything(stage.stores.main) for fact in page.facts]


async def told(stage: Engine) -> list[str]:
    return [fact.key for fact in await facts_of(stage)]


async def test_a_run_is_told_from_its_firing_to_its_end(database_url: str) -> None:
    async with engine(database_url) as stage:
        stage.executor.script["fails"] = [Outcome.FAILED, Outcome.SUCCEEDED]
        retry = {"attempts": 2, "initial": "10ms"}
        await stage.apply(
            fails={"run": TRUE, "retry": retry}, after={"run": TRUE, "needs": [{"job": "fails", "when": "failed"}]}
        )
        firing_id = await stage.fire("fails")
        await stage.settled(2)

        facts = await facts_of(stage)

        assert [fact.key for fact in facts] == [
            "default.firing.started.fails",
            "default.run.started.fails",
            "default.run.backing_off.fails",
            "default.run.started.fails",
            "default.run.succeeded.fails",
            "default.run.skipped.after",
        ]
        firing, first, lost, second, done, skipped = [fact.event.data for fact in facts]
        assert isinstance(firing, FiringData)
        assert (firing.firing_id, firing.run_id) == (firing_id, first.run_id)
        runs = [data for data in (first, lost, second, done, skipped) if isinstance(data, RunData)]
        assert [data.attempt for data in runs] == [1, 1, 2, 2, 1]
        assert [data.outcome for data in runs] == [None, "failed", None, "succeeded", None]
        assert len({data.flow_id for data in runs}) == 1
        assert [fact.event.type for fact in facts[:2]] == ["scheduler.firing.started", "scheduler.run.started"]
        assert {fact.event.source for fact in facts} == {"/default/fails", "/default/after"}
        assert len({fact.event.id for fact in facts}) == len(facts)
        assert [] == await stage.db.fetch(MISSING)


async def test_how_far_a_run_is_is_told_and_not_too_often(database_url: str) -> None:
    async with engine(database_url) as stage:
        stage.executor.script["copy"] = [None]
        await stage.apply(copy={"run": TRUE})
        await stage.fire("copy")
        offer, claim = await stage.grant(0)

        async def say(seq: int, done: int) -> list[str]:
            key = {"run_id": offer.run_id, "attempt": offer.attempt, "lease_token": offer.lease_token}
            progress = Progress(done=done, total=10)
            fact = AttemptTold(tenant="default", seq=seq, progress=progress, **key)
            await stage.executor.say("attempt.told", fact)
            await stage.until("SELECT max(seq) FROM live_progress", holds=lambda found: found == seq)
            return [key for key in await told(stage) if "progress" in key]

        async def let_time_pass() -> None:
            await stage.db.execute("UPDATE live_progress SET fed_at = now() - $1 * interval '1 second'", FED_EVERY_S)

        once = ["default.run.progress.copy"]
        assert [await say(1, 1), await say(2, 2)] == [once, once]
        await let_time_pass()
        assert await say(3, 2) == 2 * once  # what was too early before
        await let_time_pass()
        assert await say(4, 2) == 2 * once  # nothing new
        assert await say(5, 3) == 3 * once
        page = await list_feed(stage.stores.main, None, tenant="default")
        said = [fact.event.data for fact in page.facts if "progress" in fact.key][-1]
        assert isinstance(said, RunData)
        assert (said.progress, said.attempt, said.outcome) == (Progress(done=3, total=10), 1, None)
        await stage.executor.finish(offer, claim, Outcome.SUCCEEDED)
        await stage.settled(1)
        assert (await told(stage))[-1] == "default.run.succeeded.copy"


async def test_facts_are_told_with_their_places_in_the_trace(database_url: str) -> None:
    given = f"00-{'a' * 32}-{'b' * 16}-01"
    async with engine(database_url) as stage:
        await stage.apply(
            fails={"run": TRUE}, after={"run": TRUE, "needs": [{"job": "fails", "when": "failed"}]}, own={"run": TRUE}
        )
        await trigger_jobs(stage.stores.main, "default", ["fails"], params={}, clock=stage.clock, traceparent=given)
        await stage.settled(2)
        await stage.fire("own")
        await stage.settled(3)

        facts = [fact.event for fact in await facts_of(stage)]

    root, own = (
        next(fact.data.run_id for fact in facts if fact.source == f"/default/{job}") for job in ("fails", "own")
    )
    assert isinstance(root, uuid.UUID)
    assert isinstance(own, uuid.UUID)
    firing, attempt = (f"00-{'a' * 32}-{span_id_of(root, number)}-01" for number in (0, 1))
    assert [(fact.type.removeprefix("scheduler."), fact.traceparent) for fact in facts] == [
        ("firing.started", firing),
        ("run.started", attempt),
        ("run.succeeded", attempt),
        ("run.skipped", firing),
        ("firing.started", f"00-{own.hex}-{span_id_of(own, 0)}-00"),
        ("run.started", f"00-{own.hex}-{span_id_of(own, 1)}-00"),
        ("run.succeeded", f"00-{own.hex}-{span_id_of(own, 1)}-00"),
    ]


async def test_ends_without_an_attempt_are_told(database_url: str) -> None:
    """Cancelled by a person, too late, never to be started: each statement that ends a run says so."""
    async with engine(database_url, alive=False) as stage:
        await stage.apply(
            waits={"run": TRUE, "overlap": "skip"},
            late={"run": TRUE, "timeout": {"queue": "10ms"}},
            broken={"run": {"command": ["{{ params.nothing }}"]}, "params": {}},
            keyed={"run": TRUE, "concurrency": {"key": "{{ params.nothing }}", "limit": 1}},
        )
        for job in ("waits", "late", "keyed"):
            await stage.fire(job)
        await stage.until("SELECT count(*) = 3 FROM firings WHERE verdict IS NOT NULL")
        await stage.fire("waits")
        await stage.until("SELECT count(*) = 4 FROM firings WHERE verdict IS NOT NULL")
        run_id = await stage.db.fetchval("SELECT id FROM runs WHERE job_name = 'waits'")
        await cancel_run(stage.stores.main, "default", run_id, reason="not needed")
        await stage.settled(3)

        keys = await told(stage)

        assert "default.firing.skipped_overlap.waits" in keys
        assert {"default.run.cancelled.waits", "default.run.failed.late", "default.run.failed.keyed"} <= set(keys)
        assert [] == await stage.db.fetch(MISSING)
        assert {key.split(".", 1)[1].rsplit(".", 1)[0] for key in keys} <= set(FACTS)


async def test_no_cursor_passes_a_fact_that_is_committed_late(database_url: str) -> None:
    """Transactions overlap at random; whoever reads meanwhile, page by page, ends up with each fact once."""
    rng = random.Random(11)
    stores = await Stores.open(database_url, name="test", size=2)
    writers = [await connect(database_url, name="test") for _ in range(4)]
    begun: dict[int, asyncpg.transaction.Transaction] = {}
    committed: set[str] = set()
    pending: dict[int, list[str]] = {}
    seen: list[str] = []
    cursor = await feed_end(stores.main)
    try:
        for _ in range(300):
            which = rng.randrange(len(writers))
            if which not in begun:
                begun[which], pending[which] = writers[which].transaction(), []
                await begun[which].start()
            elif rng.random() < 0.6:
                ids = [uuid.UUID(int=rng.getrandbits(128)) for _ in range(rng.randint(1, 5))]
                await writers[which].execute(INSERT, rng.choice(["a", "b"]), ids)
                pending[which] += map(str, ids)
            elif rng.random() < 0.8:
                await begun.pop(which).commit()
                committed.update(pending.pop(which))
            else:
                await begun.pop(which).rollback()
                del pending[which]
            page = await list_feed(stores.main, cursor, tenant=None, limit=rng.randint(1, 20))
            cursor = page.cursor
            seen += [fact.event.subject for fact in page.facts]
        for transaction in begun.values():
            await transaction.rollback()
        seen += [fact.event.subject for page in await everything(stores.main, cursor) for fact in page.facts]
    finally:
        await asyncio.gather(*(writer.close() for writer in writers))
        await stores.close()

    assert len(committed) > 50
    assert len(seen) == len(set(seen))
    assert set(seen) == committed


async def test_a_fact_behind_an_open_transaction_waits(database_url: str) -> None:
    stores = await Stores.open(database_url, name="test", size=2)
    early, late = [await connect(database_url, name="test") for _ in range(2)]
    first, second = uuid.uuid4(), uuid.uuid4()
    try:
        open_one = early.transaction()
        await open_one.start()
        await early.execute(INSERT, "a", [first])
        await late.execute(INSERT, "a", [second])
        before = await list_feed(stores.main, None, tenant=None)

        await open_one.commit()
        after = await list_feed(stores.main, before.cursor, tenant=None)

        assert ([], False) == (before.facts, before.more)
        assert [str(first), str(second)] == [fact.event.subject for fact in after.facts]
    finally:
        await asyncio.gather(early.close(), late.close())
        await stores.close()


async def test_a_tenant_reads_its_own_facts_only(database_url: str) -> None:
    stores = await Stores.open(database_url, name="test", size=2)
    db = await connect(database_url, name="test")
    try:
        for tenant in ("a", "b", "a"):
            await db.execute(INSERT, tenant, [uuid.uuid4()])

        page = await list_feed(stores.main, None, tenant="a")

        assert ["/a/", "/a/"] == [fact.event.source[:3] for fact in page.facts]
        assert [] == (await list_feed(stores.main, page.cursor, tenant="a")).facts
    finally:
        await db.close()
        await stores.close()


async def test_what_is_published_and_old_is_pruned_and_its_cursors_say_so(database_url: str) -> None:
    stores = await Stores.open(database_url, name="test", size=2)
    db = await connect(database_url, name="test")
    try:
        for _ in range(3):
            await db.execute(INSERT, "a", [uuid.uuid4()])
        pages = await everything(stores.main, limit=1)
        await prune_feed(stores.main, 0.0)
        unpublished = await db.fetchval("SELECT count(*) FROM feed")
        await db.execute("UPDATE feeding SET xid = xid + 1000000000")
        await prune_feed(stores.main, 3600.0)
        young = await db.fetchval("SELECT count(*) FROM feed")
        await prune_feed(stores.main, 0.0)

        assert (3, 3, 0) == (unpublished, young, await db.fetchval("SELECT count(*) FROM feed"))
        with pytest.raises(ConflictError, match="no longer kept"):
            await list_feed(stores.main, pages[0].cursor, tenant=None)
        assert [] == (await list_feed(stores.main, pages[-1].cursor, tenant=None)).facts
        assert [] == (await list_feed(stores.main, None, tenant=None)).facts
    finally:
        await db.close()
        await stores.close()


@pytest.mark.parametrize(
    ("cursor", "error"),
    [("", CallerError), ("1-2", CallerError), ("1-2-x", CallerError), ("9" * 15 + "-1-1", ConflictError)],
)
async def test_a_cursor_that_cannot_be_is_refused(database_url: str, cursor: str, error: type[Exception]) -> None:
    stores = await Stores.open(database_url, name="test", size=1)
    try:
        with pytest.raises(error):
            await list_feed(stores.main, cursor, tenant=None)
    finally:
        await stores.close()
