"""A tenant with a vhost to itself: its work and its events are there, and what becomes of it is no matter to others."""

import asyncio
import random
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

import aiormq
import pytest

from scheduler.config import Settings
from scheduler.definitions.model import Definitions
from scheduler.embedded_scheduler import EmbeddedScheduler
from scheduler.errors import ConflictError
from scheduler.store.control import trigger_jobs
from scheduler.store.definitions import apply
from scheduler.store.moving import Place, found_tenant, move_broker
from scheduler.store.registry import list_homes, store_of
from scheduler.store.stores import Store, Stores
from scheduler.store.tenants import Terms, activate_tenant, suspend_tenant
from scheduler.transport.amqp_admin import declare
from scheduler.transport.broker_url import vhost_of
from scheduler.transport.topology import topology
from scheduler.wiring import Code, World, make_executor, open_link
from schemas.job_spec import JobSpec
from tests.conftest import GivenBroker
from tests.integration.test_apart import CLOCK, HANDLERS, give_job, run_job
from tests.support.cli import Cli
from tests.support.services_rabbit import RabbitNode

if TYPE_CHECKING:
    from scheduler.store.pool import Connection

PAID = JobSpec.model_validate({"run": {"handler": "noop"}, "triggers": [{"event": {"topic": "paid"}}]})
Rabbit = RabbitNode | GivenBroker


@pytest.fixture
def own_url(rabbit: Rabbit) -> Iterator[str]:
    """The URL of the tenant's vhost."""
    vhost = f"test-{uuid.uuid4().hex[:12]}"
    rabbit.management.make_vhost(vhost)
    yield urlunsplit(urlsplit(rabbit.amqp_url)._replace(path=f"/{vhost}"))
    rabbit.management.drop_vhost(vhost)


@pytest.fixture
async def main(database_url: str) -> AsyncIterator[Store]:
    stores = await Stores.open(database_url, name="test", size=3)
    yield stores.main
    await stores.close()


@dataclass(frozen=True)
class Bank:
    """A tenant with a database and a vhost of its own, beside those of all."""

    main: Store
    place: Place
    dsn: str
    amqp_url: str
    own_url: str
    folder: Path


@pytest.fixture
async def bank(
    main: Store, database_url: str, empty_database_url: str, amqp_url: str, own_url: str, tmp_path: Path
) -> Bank:
    """Made with a job that also an event starts, and what its vhost needs."""
    (tmp_path / "noop_handler.py").write_text(HANDLERS)
    (tmp_path / "dsn").write_text(empty_database_url)
    (tmp_path / "vhost").write_text(own_url)
    place = Place(f"{{file:{tmp_path / 'dsn'}}}", empty_database_url, f"{{file:{tmp_path / 'vhost'}}}")
    await found_tenant(main, "bank", Terms(), place)
    await give_job(main, "default")
    async with store_of(main, "bank", name="test") as store:
        wanted = Definitions("bank", None, {"job": PAID}, {}, ())
        await apply(store, wanted, prune=False, clock=CLOCK)
    await declare(own_url, topology({"default": 1000}))
    return Bank(main, place, database_url, amqp_url, own_url, tmp_path)


@asynccontextmanager
async def running(bank: Bank) -> AsyncIterator[None]:
    """All of the scheduler at the broker of all."""
    given = {"data_dir": bank.folder / "state", "database_url": bank.dsn, "amqp_url": bank.amqp_url}
    settings = Settings.model_validate(given | {"one_database_user": True})
    world = World(settings, CLOCK, random.Random(1), Code(bank.folder, ("noop_handler.py",)))
    async with EmbeddedScheduler(world):
        yield


@asynccontextmanager
async def executor(bank: Bank) -> AsyncIterator[str]:
    """An executor in the vhost, as a process of its own is one; its name."""
    given = {"data_dir": bank.folder / "own-state", "amqp_url": bank.own_url, "lease": "3s"}
    world = World(Settings.model_validate(given), CLOCK, random.Random(2), Code(bank.folder, ("noop_handler.py",)))
    async with AsyncExitStack() as stack:
        made = await make_executor(world, await open_link(world, stack, actor="executor"), stack)
        await made.start()
        stack.push_async_callback(made.drain)
        yield made.settings.name


async def publish(url: str, key: str) -> None:
    link = await aiormq.connect(url)
    try:
        channel = await link.channel()
        await channel.basic_publish(b'{"amount": 1}', exchange="scheduler.events", routing_key=key)
    finally:
        await link.close()


async def until(link: "Connection", query: str, *, within_s: float = 20) -> None:
    async with asyncio.timeout(within_s):
        while not await link.fetchval(query):
            await asyncio.sleep(0.02)


@pytest.mark.slow
async def test_work_and_events_of_a_tenant_are_in_its_own_vhost(bank: Bank, rabbit: Rabbit) -> None:
    async with running(bank), executor(bank) as own, AsyncExitStack() as stack:
        db = await stack.enter_async_context(bank.main.connection())
        store = await stack.enter_async_context(store_of(bank.main, "bank", name="test"))
        link = await stack.enter_async_context(store.connection())
        await run_job(link, store, "bank")
        await run_job(db, bank.main, "default")
        await publish(bank.own_url, "bank.paid")
        await until(link, "SELECT count(*) = 2 FROM runs WHERE state = 'succeeded'")

        assert [own] == [row["name"] for row in await link.fetch("SELECT name FROM executors")]
        assert own not in {row["name"] for row in await db.fetch("SELECT name FROM executors")}
        assert 0 == await db.fetchval("SELECT count(*) FROM runs WHERE tenant = 'bank'")

        # What bears its name in the vhost of all is buried, and holds up nothing behind it.
        await publish(bank.amqp_url, "bank.paid")
        await publish(bank.amqp_url, "default.paid")
        await until(db, "SELECT count(*) = 2 FROM events WHERE source = 'amqp' AND verdict IS NOT NULL")
        why = await db.fetchval("SELECT reason FROM events WHERE verdict = 'invalid'")
        assert "tenant bank has a vhost of its own" in why
        assert 2 == await link.fetchval("SELECT count(*) FROM runs")
    queues = rabbit.management.call("GET", f"queues/{vhost_of(bank.amqp_url)}")
    assert [] == [queue["name"] for queue in queues if queue["name"].endswith(".bank")]


@pytest.mark.slow
async def test_a_vhost_that_goes_holds_up_nobody_else_and_works_again_when_it_is_back(
    bank: Bank, rabbit: Rabbit
) -> None:
    async with running(bank), executor(bank), AsyncExitStack() as stack:
        db = await stack.enter_async_context(bank.main.connection())
        store = await stack.enter_async_context(store_of(bank.main, "bank", name="test"))
        link = await stack.enter_async_context(store.connection())
        await run_job(link, store, "bank")
        await run_job(db, bank.main, "default")

        rabbit.management.drop_vhost(vhost_of(bank.own_url))
        assert await run_job(db, bank.main, "default") < 5

        rabbit.management.make_vhost(vhost_of(bank.own_url))
        await declare(bank.own_url, topology({"default": 1000}))
        await run_job(link, store, "bank", within_s=40)


@pytest.mark.slow
async def test_a_vhost_that_is_away_keeps_nobody_from_starting_and_its_firings_are_kept(
    bank: Bank, rabbit: Rabbit
) -> None:
    rabbit.management.drop_vhost(vhost_of(bank.own_url))
    async with running(bank), AsyncExitStack() as stack:
        db = await stack.enter_async_context(bank.main.connection())
        store = await stack.enter_async_context(store_of(bank.main, "bank", name="test"))
        link = await stack.enter_async_context(store.connection())
        await run_job(db, bank.main, "default")
        await trigger_jobs(store, "bank", ["job"], params=None, clock=CLOCK)

        rabbit.management.make_vhost(vhost_of(bank.own_url))
        await declare(bank.own_url, topology({"default": 1000}))
        async with executor(bank):
            await until(link, "SELECT count(*) = 1 FROM runs WHERE state = 'succeeded'", within_s=60)
        assert 1 == await link.fetchval("SELECT count(*) FROM runs")


async def test_the_vhost_changes_while_the_tenant_is_suspended_and_nothing_of_it_is_out(bank: Bank) -> None:
    main = bank.main
    async with store_of(main, "bank", name="test") as store:
        with pytest.raises(ConflictError, match="changes its broker only while it is suspended"):
            await move_broker(main, store, None)
        await suspend_tenant(store, "bank", note=None, clock=CLOCK)
        async with store.connection() as db:
            await db.execute(
                """INSERT INTO runs (id, tenant, job_id, job_version, job_name, flow_id, fired_at, state, pool,
                                     priority)
                   SELECT gen_random_uuid(), tenant, id, 1, name, id, now(), 'queued', 'default', 2 FROM jobs"""
            )
            with pytest.raises(ConflictError, match="executors hold 1 runs of it: wait for them, or cancel them"):
                await move_broker(main, store, None)
            await db.execute("UPDATE runs SET state = 'ready', ready_at = now()")
        await move_broker(main, store, None)
        assert None is (await list_homes(main))["bank"].broker
        await move_broker(main, store, bank.place.broker)
        await activate_tenant(store, "bank", clock=CLOCK)
    assert bank.place.broker == (await list_homes(main))["bank"].broker


@pytest.fixture
def cli(tmp_path: Path, database_url: str, amqp_url: str, rabbit: Rabbit) -> Cli:
    made = Cli(tmp_path)
    url = {"AMQP_URL": amqp_url, "SCHEDULER_MANAGEMENT_URL": rabbit.management_url}
    made.environment |= {"DATABASE_URL": database_url, **url}
    return made


@pytest.mark.slow
def test_an_operator_makes_the_vhost_and_its_users_by_commands(
    cli: Cli, empty_database_url: str, own_url: str, amqp_url: str, rabbit: Rabbit
) -> None:
    cli.environment |= {"BANK": empty_database_url, "BANK_VHOST": own_url}
    create = ("tenant", "create", "bank", "--broker", "{env:BANK_VHOST}")
    cli(*create, code=2)
    cli(*create, "--database", "{env:BANK}", "--broker", "{env:NOWHERE}", code=78)
    cli(*create, "--database", "{env:BANK}")
    [bank] = [row for row in cli.json("tenant", "list")["tenants"] if row["name"] == "bank"]
    assert "{env:BANK_VHOST}" == bank["broker"]

    assert cli("broker", "check", code=1).count("bank: queue scheduler.recorder.") == 4
    done = cli.json("broker", "declare")["done"]
    version = rabbit.management.call("GET", "overview")["rabbitmq_version"]
    queue = f"queue scheduler.executor.default ({'classic' if version.startswith('3.') else 'quorum'})"
    assert {queue, f"bank: {queue}"} <= {*done}
    assert [] == [line for line in done if ".bank" in line]
    assert {"differences": [], "troubles": {}} == cli.json("broker", "check")
    assert {"firings": 0, "offers": 0, "ends": 0} == cli.json("broker", "rebuild")["owed"]
    assert [] == cli.json("executors", "--tenant", "bank")["executors"]

    made = cli.json("broker", "users", "--vhost-of", "bank", "--apply", "--pool", "default")["users"]
    try:
        passwords = {user["name"]: user["password"] for user in made}
        asyncio.run(check_rights(own_url, amqp_url, passwords["scheduler-bank-executor-default"]))
    finally:
        for user in passwords:
            rabbit.management.call("DELETE", f"users/{user}")
    cli("broker", "users", "--vhost-of", "default", code=3)

    cli("tenant", "set", "bank", "--broker", "none", code=4)
    cli("tenant", "suspend", "bank")
    cli("tenant", "set", "bank", "--broker", "none")
    assert any(".bank " in line for line in cli.json("broker", "declare")["done"])
    cli("tenant", "set", "default", "--broker", "{env:BANK_VHOST}", code=4)
    cli("tenant", "set", "bank", "--broker", "{env:BANK_VHOST}")
    cli.environment["BANK_VHOST"] = urlunsplit(urlsplit(own_url)._replace(path="/no-such-vhost"))
    away = cli.json("broker", "declare", code=69)
    assert ([], ["bank"]) == (away["done"], [*away["troubles"]])


async def check_rights(own_url: str, amqp_url: str, password: str) -> None:
    """The executors of the tenant reach their queues, and nothing in the vhost of all."""
    parts = urlsplit(own_url)
    account = f"scheduler-bank-executor-default:{password}@{parts.hostname}:{parts.port}"
    link = await aiormq.connect(urlunsplit(parts._replace(netloc=account)))
    channel = await link.channel()
    await channel.basic_get("scheduler.executor.default")
    with pytest.raises(aiormq.exceptions.ChannelAccessRefused):
        await channel.basic_get("scheduler.recorder.claims")
    await link.close()
    with pytest.raises(aiormq.exceptions.InvalidFrameError):  # the broker closes the link where it would open it
        await aiormq.connect(urlunsplit(urlsplit(amqp_url)._replace(netloc=account)))
