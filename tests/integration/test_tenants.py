"""Tenants: suspended and activated, quotas, and their shares of a pool."""

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from scheduler.definitions.model import Definitions
from scheduler.domain.why import Gate, held_by
from scheduler.errors import ConflictError, NotFoundError
from scheduler.store.catalogue import Catalogue
from scheduler.store.control import trigger_jobs
from scheduler.store.definitions import ApplyResult, apply
from scheduler.store.offering import Offering
from scheduler.store.pool import connect
from scheduler.store.quotas import measure_storage
from scheduler.store.tenants import Terms, activate_tenant, change_tenant, create_tenant, list_tenants, suspend_tenant
from scheduler.store.why import ask_gates
from schemas.job_spec import JobSpec
from schemas.vocabulary import Outcome
from tests.integration.test_backlog_order import PACE, READY
from tests.support.engine import Engine, engine
from tests.support.ticking import Stage

if TYPE_CHECKING:
    from scheduler.store.pool import Connection

TRUE = {"run": {"command": ["true"]}}
MINUTELY: list[dict[str, object]] = [{"every": "1m"}]


async def suspend(stage: Stage | Engine, note: str | None = None) -> tuple[bool, int, int]:
    done = await suspend_tenant(stage.stores.main, "default", note=note, clock=stage.clock)
    return done.changed, done.out, done.held


async def activate(stage: Stage | Engine) -> bool:
    return await activate_tenant(stage.stores.main, "default", clock=stage.clock)


async def pause(stage: Stage) -> None:
    await stage.pause("job")


async def resume(stage: Stage) -> None:
    await stage.resume("job")


async def fill(stage: Stage | Engine, *names: str, tenant: str = "default") -> ApplyResult:
    specs = {name: JobSpec.model_validate(TRUE) for name in names}
    return await apply(stage.stores.main, Definitions(tenant, None, specs, {}, ()), prune=False, clock=stage.clock)


@pytest.mark.parametrize(
    ("policy", "caught_up"),
    [("latest", [("tenant_suspended", 4), (None, 1)]), ("none", [("tenant_suspended", 5)])],
)
async def test_what_fell_into_a_suspension_is_caught_up_with_as_after_a_pause(
    stage: Stage, policy: str, caught_up: list[tuple[str | None, int]]
) -> None:
    stage.catch_up = {"policy": policy}
    await stage.apply(job=MINUTELY)
    ticker = await stage.ticker()
    assert (True, 0, 0) == await suspend(stage, "unpaid")
    assert (False, 0, 0) == await suspend(stage)
    await stage.clock.advance(timedelta(seconds=310))
    await ticker.tick(stage.stores.main)
    assert [] == await stage.ledger()

    assert await activate(stage)
    assert not await activate(stage)
    await ticker.tick(stage.stores.main)

    assert caught_up == [(verdict, count) for _, _, count, verdict in await stage.ledger()]
    reasons = {row["reason"] for row in await stage.db.fetch("SELECT reason FROM firings WHERE verdict IS NOT NULL")}
    assert {"the tenant was suspended"} == reasons


async def test_a_pause_after_a_suspension_is_a_pause_again(stage: Stage) -> None:
    stage.catch_up = {"policy": "none"}
    await stage.apply(job=MINUTELY)
    ticker = await stage.ticker()
    for hold, go_on in ((suspend, activate), (pause, resume)):
        await hold(stage)
        await stage.clock.advance(timedelta(minutes=2))
        await go_on(stage)
        await ticker.tick(stage.stores.main)

    assert [("tenant_suspended", 2), ("paused", 2)] == [(verdict, n) for _, _, n, verdict in await stage.ledger()]


async def test_a_suspended_tenant_starts_nothing_and_what_runs_goes_on(database_url: str) -> None:
    async with engine(database_url) as stage:
        stage.executor.script = {"slow": [None]}
        await stage.apply(slow=TRUE, other=TRUE)
        await stage.fire("slow")
        offer, claim = await stage.grant(0)
        assert (True, 1, 0) == await suspend(stage)

        firing = await stage.fire("other")
        await stage.until("SELECT verdict = 'tenant_suspended' FROM firings WHERE id = $1", firing)
        with pytest.raises(ConflictError, match="tenant default is suspended: scheduler tenant activate default"):
            await trigger_jobs(stage.stores.main, "default", ["other"], params=None, clock=stage.clock)
        await stage.executor.finish(offer, claim, Outcome.SUCCEEDED)

        await stage.until("SELECT count(*) = 1 FROM runs WHERE state = 'succeeded'")
        assert await activate(stage)
        assert ["succeeded"] == (await _run(stage, "other"))["other"]


async def test_a_backlog_waits_for_the_activation(database_url: str) -> None:
    async with engine(database_url) as stage:
        retry = {"attempts": 2, "initial": "50ms", "jitter": 0.0}
        stage.executor.script = {"job": [None]}
        await stage.apply(job=TRUE | {"retry": retry})
        await stage.fire("job")
        offer, claim = await stage.grant(0)
        await suspend(stage)
        await stage.executor.finish(offer, claim, Outcome.FAILED)
        await stage.until("SELECT state = 'ready' FROM runs")
        await stage.dispatcher.sweep(stage.dispatcher._stores.main)
        assert (False, 0, 1) == await suspend(stage)
        assert "ready" == await stage.db.fetchval("SELECT state FROM runs")
        why = await ask_gates(
            stage.stores.main, "default", await stage.db.fetchval("SELECT id FROM runs"), lease_s=30.0
        )
        held = held_by(why.gates)
        assert held is not None
        assert (Gate.TENANT, True) == (held.gate, "scheduler tenant activate default" in held.reason)

        await activate(stage)

        await stage.until("SELECT state = 'succeeded' FROM runs")


async def _run(stage: Engine, job: str) -> dict[str, list[str]]:
    done = await stage.db.fetchval("SELECT count(*) FROM runs")
    await stage.fire(job)
    return await stage.settled(done + 1)


async def test_more_runs_in_a_minute_than_the_quota_are_over_it(database_url: str) -> None:
    async with engine(database_url) as stage:
        await stage.apply(job=TRUE | {"overlap": "allow"})
        await change_tenant(stage.stores.main, "default", {"max_runs_per_minute": 2})
        # Not at the turn of a minute by the clock of the database.
        await stage.until("SELECT extract(second FROM now()) < 50")
        for _ in range(4):
            await stage.fire("job")
        await stage.until("SELECT count(*) = 4 FROM firings WHERE verdict IS NOT NULL")

        rows = await stage.db.fetch("SELECT verdict, reason FROM firings ORDER BY verdict")
        assert ["over_quota"] * 2 + ["started"] * 2 == [row["verdict"] for row in rows]
        reason = "tenant default has started 2 runs in this minute, its quota is 2 (max_runs_per_minute)"
        assert reason == rows[0]["reason"]

        await stage.db.execute("UPDATE tenant_starts SET minute = minute - interval '1 minute'")
        firing = await stage.fire("job")
        assert "started" == await stage.until("SELECT verdict FROM firings WHERE id = $1", firing)


async def test_no_more_jobs_than_the_quota(stage: Stage) -> None:
    await create_tenant(stage.stores.main, "small", Terms(max_jobs=2))
    await fill(stage, "a", "b", tenant="small")

    with pytest.raises(ConflictError, match=r"tenant small would have 3 jobs, its quota is 2 \(max_jobs\)"):
        await fill(stage, "c", tenant="small")
    await fill(stage, "a", "b", tenant="small")
    await fill(stage, "a", "b", "c")

    assert 2 == await stage.db.fetchval("SELECT count(*) FROM jobs WHERE tenant = 'small'")


async def test_a_tenant_that_stores_too_much_starts_and_applies_nothing_new(database_url: str) -> None:
    async with engine(database_url) as stage:
        await stage.apply(job=TRUE)
        await stage.db.execute(READY, "other", 2, 1.0, 200)
        await change_tenant(stage.stores.main, "default", {"max_storage_bytes": 10})
        main = stage.dispatcher._stores.main
        await measure_storage(main)
        why = r"tenant default stores .*B, its quota is 10B \(max_storage\)"

        with pytest.raises(ConflictError, match=why):
            await fill(stage, "new")
        firing = await stage.fire("job")
        await stage.until("SELECT verdict = 'over_quota' FROM firings WHERE id = $1", firing)
        measured = await stage.db.fetchval("SELECT storage_bytes FROM tenants WHERE name = 'default'")
        assert 100 < measured < 5000

        await change_tenant(stage.stores.main, "default", {"max_storage_bytes": 1_000_000})
        firing = await stage.fire("job")
        assert "started" == await stage.until("SELECT verdict FROM firings WHERE id = $1", firing)


async def test_what_is_asked_of_a_tenant_that_is_not_there(stage: Stage) -> None:
    main = stage.stores.main
    for ask in (
        suspend_tenant(main, "nobody", note=None, clock=stage.clock),
        activate_tenant(main, "nobody", clock=stage.clock),
        change_tenant(main, "nobody", {"weight": 2}),
    ):
        with pytest.raises(NotFoundError, match="there is no tenant nobody"):
            await ask
    await create_tenant(main, "somebody", Terms(weight=3))
    with pytest.raises(ConflictError, match="tenant somebody is there already"):
        await create_tenant(main, "somebody", Terms())
    [row] = [row for row in await list_tenants(main) if row["name"] == "somebody"]
    assert (3, None, 0) == (row["weight"], row["max_jobs"], row["jobs"])


async def shares(db: "Connection", slots: int, fills: int = 1) -> dict[str, int]:
    """Return how many runs of each tenant several fills offer, two for each slot."""
    await db.execute(
        """INSERT INTO executors (boot_id, name, pool, slots, busy, handlers, host, pid, version)
           VALUES (gen_random_uuid(), 'e', 'default', $1, 0, '{}', 'h', 1, '0')""",
        slots,
    )
    offered: dict[str, int] = {}
    for _ in range(fills):
        async with db.transaction():
            await Offering(Catalogue()).fill(db, "default", PACE)
            rows = await db.fetch(
                "UPDATE runs SET state = 'ready', lease_token = NULL WHERE state = 'queued' RETURNING tenant"
            )
        for row in rows:
            offered[row["tenant"]] = offered.get(row["tenant"], 0) + 1
    return offered


@pytest.mark.parametrize(("slots", "expected"), [(4, {"heavy": 6, "light": 2}), (20, {"heavy": 30, "light": 10})])
async def test_a_round_gives_each_tenant_as_many_turns_as_it_weighs(
    database_url: str, slots: int, expected: dict[str, Any]
) -> None:
    db = await connect(database_url, name="test")
    try:
        for tenant in expected:
            await db.execute(READY, tenant, 2, 1.0, 100)
        await db.execute("UPDATE tenants SET weight = 3 WHERE name = 'heavy'")
        assert expected == await shares(db, slots)
    finally:
        await db.close()


async def test_single_offers_too_go_by_weight(database_url: str) -> None:
    """A pool that takes two at a time: of 300 rounds of two from weights of 9 and 1, about 60 go to the light one."""
    db = await connect(database_url, name="test")
    try:
        for tenant in ("heavy", "light"):
            await db.execute(READY, tenant, 2, 1.0, 50)
        await db.execute("UPDATE tenants SET weight = 9 WHERE name = 'heavy'")
        offered = await shares(db, 1, fills=300)
        assert 600 == sum(offered.values())
        assert 30 < offered["light"] < 100
    finally:
        await db.close()
