"""The audit log: every change that somebody can ask for is in it, in the transaction that makes it."""

import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from scheduler.clock import VirtualClock
from scheduler.config import Settings
from scheduler.definitions.model import Definitions
from scheduler.domain.access import Role
from scheduler.domain.audit import AuditAction, AuditKind, By
from scheduler.store import (
    api_keys,
    backfill,
    cancelling,
    control,
    dead_runs,
    definitions,
    events,
    executors,
    moving,
    pools,
    queues,
    retaining,
    revoked_tokens,
    tenants,
)
from scheduler.store.audit import AuditFilter, Change, list_audit, record_changes
from scheduler.store.pool import connect
from scheduler.store.registry import open_apart
from scheduler.store.rehearsal import rehearse
from scheduler.store.stores import Store, Stores
from schemas.calendar_spec import CalendarSpec
from schemas.definitions_file import PoolSpec
from schemas.job_spec import JobSpec
from schemas.vocabulary import EventSource
from tests.support.asked_for import changing

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
TENANT = "default"
WHO = By("cli:ann@desk", TENANT)
ASKED_BY_NOBODY = {
    "use_key": "notes when a key was used last",
    "keep_answer": "keeps what was answered to a change, which has its own entry",
    "record_events": "what senders send",
    "forget_keys": "what senders sent, long ago",
    "record_denial": "is an entry itself",
    "migrate": "has a table of its own, for all tenants",
    "retain": "is for a person only if asked for: a test of its own, since it goes on for many transactions",
}
RUN = """
INSERT INTO runs (id, tenant, job_id, job_version, job_name, flow_id, fired_at, state, pool, priority, has_downstream,
                  finished_at)
SELECT gen_random_uuid(), tenant, id, 1, name, gen_random_uuid(), now(), $1, 'default', 2, true,
       CASE WHEN $1 IN ('succeeded', 'failed') THEN now() END FROM jobs WHERE name = 'a' RETURNING id
"""
EXECUTOR = """
INSERT INTO executors (boot_id, name, pool, host, pid, version, slots, busy, handlers)
VALUES (gen_random_uuid(), 'box', 'default', 'desk', 1, '1', 1, 0, '{}')
"""


@dataclass
class Stage:
    store: Store
    db: "asyncpg.Connection[asyncpg.Record]"
    clock: VirtualClock
    apart: str
    """The DSN of an empty database."""
    known: frozenset[uuid.UUID] = frozenset()
    """Entries that are no news."""

    async def mark(self) -> None:
        self.known = frozenset(row["id"] for row in await self.db.fetch("SELECT id FROM audit"))

    async def run(self, state: str) -> uuid.UUID:
        found: uuid.UUID = await self.db.fetchval(RUN, state)
        return found

    async def apply(self, *, prune: bool = False, calendars: Any = None, given: Any = None, **jobs: Any) -> None:
        specs = {name: JobSpec.model_validate(fields) for name, fields in jobs.items()}
        wanted = Definitions(TENANT, "test", specs, given or {}, (), calendars=calendars or {})
        await definitions.apply(self.store, wanted, prune=prune, clock=self.clock)

    async def log(self, **which: Any) -> list[dict[str, Any]]:
        return await list_audit([self.store], TENANT, AuditFilter(**which))


JOB: dict[str, Any] = {"run": {"command": ["x"]}, "triggers": [{"cron": "0 2 * * *"}]}


@pytest.fixture
async def stage(database_url: str, empty_database_url: str) -> AsyncIterator[Stage]:
    """A store of ann's, with one job and what a person can do something with."""
    stores = await Stores.open(database_url, name="test", size=3)
    db = await connect(database_url, name="test")
    made = Stage(stores.main.acting(WHO), db, VirtualClock(NOW), empty_database_url)
    await made.apply(a=JOB)
    await tenants.create_tenant(made.store, "shop", tenants.Terms())
    await api_keys.create_key(made.store, TENANT, "old", Role.VIEWER, expires_at=None, clock=made.clock)
    await db.execute(EXECUTOR)
    yield made
    await db.close()
    await stores.close()


SPAN = backfill.Wanted("a", NOW - timedelta(days=9), NOW - timedelta(days=7))


async def paused(stage: Stage, resume: Callable[[], Awaitable[object]]) -> None:
    await control.pause_job(stage.store, TENANT, "a", note=None, clock=stage.clock)
    await control.pause_all(stage.store, TENANT, clock=stage.clock)
    await queues.pause_queue(stage.store, "default")
    await tenants.suspend_tenant(stage.store, "shop", note=None, clock=stage.clock)
    await stage.mark()
    await resume()


async def started_backfill(stage: Stage) -> uuid.UUID:
    found = await backfill.start_backfill(stage.store, TENANT, SPAN, dry_run=False, clock=stage.clock)
    assert found.id is not None
    return found.id


async def on_run(stage: Stage, state: str, change: Callable[[uuid.UUID], Awaitable[object]]) -> None:
    await change(await stage.run(state))


async def cancelled_backfill(stage: Stage) -> None:
    started = await started_backfill(stage)
    await stage.mark()
    await backfill.cancel_backfill(stage.store, TENANT, started, reason="x")


async def moved_broker(stage: Stage) -> None:
    """Of a tenant in a database of its own, which is suspended there."""
    await moving.found_tenant(stage.store, "bank", tenants.Terms(), moving.Place("{env:BANK}", stage.apart))
    home = await open_apart("bank", stage.apart, name="test")
    await tenants.suspend_tenant(home, "bank", note=None, clock=stage.clock)
    await stage.mark()
    await moving.move_broker(stage.store, home, "{env:BROKER}")
    await home.close()


def event(stage: Stage) -> events.NewEvent:
    return events.NewEvent(id=uuid.uuid4(), tenant=TENANT, source=EventSource.CLI, topic="t", data={"secret": "s3cret"})


CHANGES: dict[str, Callable[[Stage], Any]] = {
    "pause_job": lambda s: control.pause_job(s.store, TENANT, "a", note="x", clock=s.clock),
    "resume_job": lambda s: paused(s, lambda: control.resume_job(s.store, TENANT, "a", clock=s.clock)),
    "enable_job": lambda s: control.enable_job(s.store, TENANT, "a", enabled=False, clock=s.clock),
    "pause_all": lambda s: control.pause_all(s.store, TENANT, clock=s.clock),
    "resume_all": lambda s: paused(s, lambda: control.resume_all(s.store, TENANT, clock=s.clock)),
    "trigger_jobs": lambda s: control.trigger_jobs(s.store, TENANT, ["a"], params={"p": "s3cret"}, clock=s.clock),
    "retry_run": lambda s: on_run(s, "failed", lambda run: control.retry_run(s.store, TENANT, run, clock=s.clock)),
    "cancel_run": lambda s: on_run(s, "ready", lambda run: control.cancel_run(s.store, TENANT, run, reason="x")),
    "cancel_runs": lambda s: on_run(s, "ready", lambda run: cancelling.cancel_runs(s.store, TENANT, [run], reason="x")),
    "discard_run": lambda s: on_run(s, "failed", lambda run: control.discard_run(s.store, TENANT, run)),
    "make_owed_due": lambda s: on_run(s, "queued", lambda _: control.make_owed_due(s.store)),
    "discard_dead": lambda s: on_run(s, "failed", lambda run: dead_runs.discard_dead(s.store, TENANT, [run])),
    "retry_dead": lambda s: on_run(
        s, "failed", lambda run: dead_runs.retry_dead(s.store, TENANT, [run], params={"p": "s3cret"}, clock=s.clock)
    ),
    "apply": lambda s: s.apply(a=JOB | {"description": "s3cret"}),
    "delete_job": lambda s: definitions.delete_job(s.store, TENANT, "a", clock=s.clock),
    "set_pool": lambda s: pools.set_pool(s.store, "big", 7),
    "pause_queue": lambda s: queues.pause_queue(s.store, "default"),
    "resume_queue": lambda s: paused(s, lambda: queues.resume_queue(s.store, "default")),
    "drain_queue": lambda s: queues.drain_queue(s.store, "default", timeout_s=1.0, clock=s.clock),
    "clear_queue": lambda s: on_run(s, "ready", lambda _: queues.clear_queue(s.store, TENANT, "default", reason="x")),
    "drain_executor": lambda s: executors.drain_executor(s.store, "box", lease_s=30.0),
    "undrain_executor": lambda s: executors.undrain_executor(s.store, "box", lease_s=30.0),
    "create_tenant": lambda s: tenants.create_tenant(s.store, "bank", tenants.Terms()),
    "change_tenant": lambda s: tenants.change_tenant(s.store, "shop", {"weight": 3}),
    "suspend_tenant": lambda s: tenants.suspend_tenant(s.store, "shop", note="unpaid", clock=s.clock),
    "activate_tenant": lambda s: paused(s, lambda: tenants.activate_tenant(s.store, "shop", clock=s.clock)),
    "found_tenant": lambda s: moving.found_tenant(
        s.store, "bank", tenants.Terms(), moving.Place("{env:BANK}", s.apart)
    ),
    "move_tenant": lambda s: moving.move_tenant(
        s.store, "shop", moving.Place("{env:SHOP}", s.apart), drain_s=1.0, clock=s.clock
    ),
    "move_broker": moved_broker,
    "create_key": lambda s: api_keys.create_key(s.store, TENANT, "ci", Role.ADMIN, expires_at=None, clock=s.clock),
    "revoke_key": lambda s: api_keys.revoke_key(s.store, TENANT, "old"),
    "revoke_tokens": lambda s: revoked_tokens.revoke_tokens(s.store, revoked_tokens.TokenMark.SUBJECT, "ann"),
    "start_backfill": started_backfill,
    "cancel_backfill": cancelled_backfill,
    "publish_by_hand": lambda s: events.publish_by_hand(s.store, event(s)),
}


def test_every_function_that_somebody_can_ask_for_reads_or_is_tried_here() -> None:
    """A new one that changes something belongs into CHANGES, and writes an entry."""
    found = changing()

    assert set(CHANGES) <= found
    assert set() == found - set(CHANGES) - ASKED_BY_NOBODY.keys()


@pytest.mark.parametrize("name", CHANGES)
async def test_a_change_is_in_the_log_by_its_own_transaction(stage: Stage, name: str) -> None:
    await stage.mark()

    await CHANGES[name](stage)

    rows = await stage.db.fetch("SELECT *, xmin::text AS by FROM audit WHERE id <> ALL ($1::uuid[])", stage.known)
    assert rows
    assert {("cli:ann@desk", "done")} == {(row["actor"], row["result"]) for row in rows}
    assert {row["action"] for row in rows} <= set(AuditAction)
    assert {row["kind"] for row in rows} <= set(AuditKind)
    assert "s3cret" not in str([dict(row) for row in rows])
    last = max(rows, key=lambda row: row["id"])["by"]  # of an earlier one, a later step may have written the rows anew
    tables = await stage.db.fetch("SELECT tablename AS name FROM pg_tables WHERE schemaname = 'scheduler'")
    by_it = "SELECT EXISTS (SELECT FROM {} WHERE xmin::text = $1)"
    assert {"audit"} < {row["name"] for row in tables if await stage.db.fetchval(by_it.format(row["name"]), last)}


async def test_what_changes_nothing_is_not_in_it(stage: Stage) -> None:
    before = len(await stage.log())

    await control.resume_job(stage.store, TENANT, "a", clock=stage.clock)
    await control.enable_job(stage.store, TENANT, "a", enabled=True, clock=stage.clock)
    await stage.apply(a=JOB)
    await queues.resume_queue(stage.store, "default")
    await pools.set_pool(stage.store, "default", 1000)
    changed = Definitions(TENANT, "test", {"a": JobSpec.model_validate(JOB | {"pool": "default"})}, {}, ())
    await rehearse(stage.store, changed, prune=False, clock=stage.clock)

    assert before == len(await stage.log())


async def test_an_apply_says_of_each_object_what_became_of_it(stage: Stage) -> None:
    days = {"days": CalendarSpec.model_validate({"closed": ["2026-05-04"]})}
    await stage.apply(a=JOB | {"description": "new"}, b=JOB, given={"big": PoolSpec(queue_limit=5)}, calendars=days)
    await stage.apply(b=JOB, prune=True)

    found = {(row["kind"], row["name"], row["action"]): row for row in (await stage.log())[:7]}
    assert {
        ("job", "a", "change"),
        ("job", "b", "create"),
        ("pool", "big", "create"),
        ("calendar", "days", "create"),
        ("job", "a", "delete"),
        ("calendar", "days", "delete"),
    } <= found.keys()
    change = found["job", "a", "change"]
    assert (1, 2, ["description"]) == (change["before"]["version"], change["after"]["version"], change["after"]["keys"])
    assert change["after"]["sha256"] == found["job", "a", "delete"]["before"]["sha256"] != change["before"]["sha256"]


async def test_a_document_that_is_too_long_is_its_digest(stage: Stage) -> None:
    long = Change(AuditAction.CHANGE, AuditKind.JOB, "a" * 500, after={"text": "x" * 100_000})
    async with stage.store.transaction() as db:
        await record_changes(db, WHO, TENANT, [long])

    [row] = await stage.log(limit=1)
    assert (200, {"bytes", "names", "sha256"}) == (len(row["name"]), set(row["after"]))


async def test_filters_choose_and_pages_go_on(stage: Stage) -> None:
    await control.pause_job(stage.store, TENANT, "a", note=None, clock=stage.clock)
    await control.resume_job(stage.store.acting(By("key:7", TENANT)), TENANT, "a", clock=stage.clock)

    assert ["resume"] == [row["action"] for row in await stage.log(actor="key:*")]
    assert [] == await stage.log(actor="key:")
    assert ["pause"] == [row["action"] for row in await stage.log(action="pause", kind="job", name="a")]
    assert [] == await stage.log(since=datetime.now(UTC) + timedelta(days=1))
    first = (await stage.log(limit=1))[0]
    assert "pause" == (await stage.log(limit=1, after=first["id"]))[0]["action"]
    everything = await stage.log()
    assert [row["id"] for row in everything] == sorted((row["id"] for row in everything), reverse=True)
    assert {7} == {row["id"].version for row in everything}


async def test_history_that_somebody_has_worked_on_is_in_the_log(stage: Stage) -> None:
    await stage.mark()

    await retaining.retain(stage.store, Settings().retention.plan("UTC"), stage.clock)
    assert await stage.db.fetchval("SELECT count(*) FROM audit WHERE id <> ALL ($1::uuid[])", stage.known) == 0
    await retaining.retain(stage.store, Settings().retention.plan("UTC"), stage.clock, asked=True)

    row = await stage.db.fetchrow("SELECT actor, action, kind FROM audit WHERE id <> ALL ($1::uuid[])", stage.known)
    assert row is not None
    assert tuple(row) == ("cli:ann@desk", "prune", "history")
