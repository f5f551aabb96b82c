"""What happens to the scheduler itself: each thing is told once, whoever sees it, and again when it comes again."""

import shutil
import uuid
from pathlib import Path
from typing import Any

import pytest

from actors.dispatcher import Dispatcher
from scheduler.store.registry import Home, register_home
from schemas.sizes import format_size
from tests.support.engine import Engine, engine

COMMAND = {"command": ["true"]}
SILENT = "UPDATE executors SET seen_at = seen_at - interval '1 minute'"
"""As if nothing had been heard of them for many leases."""
TOLD = "SELECT count(*) FROM events WHERE topic = $1 AND verdict = 'started'"


@pytest.fixture
async def stage(database_url: str, broker_url: str | None):
    async with engine(database_url, amqp_url=broker_url) as made:
        yield made


def on(what: str, **limits: Any) -> dict[str, Any]:
    return {"run": COMMAND, "triggers": [{"system": {"on": what, **limits}}]}


async def told(stage: Engine, what: str) -> dict[str, Any]:
    """Return what is told of the one event of ``what``, after everybody has looked several times more."""
    await stage.until(TOLD, f"system.{what}")
    for _ in range(2):
        await look(stage.dispatcher)
    (row,) = await stage.db.fetch("SELECT data FROM events WHERE topic = $1", f"system.{what}")
    return dict(row["data"])


async def look(dispatcher: Dispatcher) -> None:
    for desk in dispatcher._happenings.values():  # what its loop does each two seconds
        await desk.look()


async def test_a_start_is_told_once_by_the_first_dispatcher(database_url: str, broker_url: str | None):
    async with engine(database_url, amqp_url=broker_url) as first:
        await first.apply(hello=on("started"))
        await first.dispatcher.drain()

    async with (
        engine(database_url, amqp_url=broker_url) as stage,
        engine(database_url, alive=False, amqp_url=broker_url) as other,
    ):
        assert {"on": "started", "wanted": {"on": "started"}} == await told(stage, "started")
        await look(other.dispatcher)
        await stage.settled(1)
        assert 1 == await stage.db.fetchval("SELECT count(*) FROM runs")


async def test_a_start_after_a_crash_is_told_when_the_dead_are_known_to_be(database_url: str, broker_url: str | None):
    async with engine(database_url, amqp_url=broker_url) as first:
        await first.apply(hello=on("started"))
        await first.until("SELECT count(*) FROM dispatchers WHERE stopped_at IS NULL")

    async with engine(database_url, amqp_url=broker_url) as stage:
        await look(stage.dispatcher)
        assert 0 == await stage.db.fetchval("SELECT count(*) FROM events"), "the other may be alive"
        await stage.db.execute("UPDATE dispatchers SET seen_at = seen_at - interval '10 seconds' WHERE joined_at = "
                               "(SELECT min(joined_at) FROM dispatchers)")  # fmt: skip
        await told(stage, "started")


async def test_the_last_dispatcher_that_goes_tells_of_the_stop(database_url: str, broker_url: str | None):
    async with (
        engine(database_url, amqp_url=broker_url) as stage,
        engine(database_url, alive=False, amqp_url=broker_url) as other,
    ):
        await stage.apply(bye=on("stopping"))
        await stage.until("SELECT count(*) FROM dispatchers", holds=lambda found: found == 2)
        await stage.until("SELECT count(*) FROM executors")

        await other.dispatcher.drain()
        assert 0 == await stage.db.fetchval("SELECT count(*) FROM events")
        await stage.dispatcher.drain()

        assert 1 == await stage.db.fetchval(TOLD, "system.stopping")
        state = await stage.db.fetchval("SELECT state FROM runs")
        assert state in {"queued", "running", "succeeded"}, "while executors are there it runs"


async def test_an_executor_that_is_silent_for_a_lease_is_lost(database_url: str, broker_url: str | None):
    async with engine(database_url, lease_s=3.0, silent_s=3.0, amqp_url=broker_url) as stage:
        await stage.until("SELECT count(*) FROM executors")
        await stage.apply(lost=on("executor_lost", pool="def*"), other=on("executor_lost", pool="gpu"))
        await look(stage.dispatcher)
        assert 0 == await stage.db.fetchval("SELECT count(*) FROM conditions"), "it was heard of"
        await stage.db.execute(SILENT)

        data = await told(stage, "executor_lost")

        assert ("played", "default", "test") == (data["name"], data["pool"], data["host"])
        await stage.executor.beat()
        await stage.until("SELECT bool_and(seen_at > now() - interval '30 seconds') FROM executors")
        await look(stage.dispatcher)
        assert 0 == await stage.db.fetchval("SELECT count(*) FROM conditions"), "it is heard of again"
        await stage.db.execute(SILENT)
        await stage.until(TOLD, "system.executor_lost", holds=lambda found: found == 2)


async def test_a_disk_with_less_room_than_wanted_is_told_of(stage: Engine):
    free = shutil.disk_usage(Path()).free
    await stage.apply(full=on("disk_low", below=format_size(free * 4 // 1024 * 1024)), fine=on("disk_low", below="1B"))

    data = await told(stage, "disk_low")

    assert data["free_bytes"] < free * 4
    assert ["full"] == [row["name"] for row in await stage.db.fetch(
        "SELECT j.name FROM firings AS f JOIN jobs AS j ON j.id = f.job_id")]  # fmt: skip


async def test_a_backlog_above_the_limit_is_told_of(database_url: str, broker_url: str | None):
    async with engine(database_url, alive=False, amqp_url=broker_url) as stage:
        await stage.apply(work={"run": COMMAND, "overlap": "allow"}, high=on("backlog_high", above=2))
        for _ in range(2):
            await stage.fire("work")
        await stage.until("SELECT count(*) FROM runs WHERE state = 'ready'", holds=lambda found: found == 2)
        await look(stage.dispatcher)
        assert 0 == await stage.db.fetchval("SELECT count(*) FROM events")

        await stage.fire("work")

        data = await told(stage, "backlog_high")
        assert ("default", 2) == (data["pool"], data["above"])


async def test_a_run_that_goes_on_for_too_long_is_told_of_once(stage: Engine):
    stage.executor.script = {"work": [None], "slow": [None]}
    await stage.apply(
        work={"run": COMMAND},
        slow=on("run_long", after="100ms", job="*"),
        later=on("run_long", after="1h", job="*"),
    )
    await stage.fire("work")

    data = await told(stage, "run_long")

    assert ("work", 1, "played") == (data["job"], data["attempt"], data["executor"])
    await stage.grant(1)
    await look(stage.dispatcher)
    assert 1 == await stage.db.fetchval("SELECT count(*) FROM events"), "its own run is never too long for it"


async def test_the_database_of_a_tenant_that_does_not_answer_is_told_of(stage: Engine, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ACME_DATABASE", f"postgresql://127.0.0.1:1/{uuid.uuid4().hex}")
    await stage.apply(down=on("tenant_database_down"))
    await stage.db.execute("INSERT INTO tenants (name) VALUES ('acme')")
    await register_home(stage.stores.main, "acme", Home("{env:ACME_DATABASE}"))

    data = await told(stage, "tenant_database_down")

    assert "acme" == data["tenant"]
    assert "127.0.0.1:1" in data["why"]
