"""Real servers for the whole run, made when first asked for, and what no test may leave behind."""

import asyncio
import inspect
import os
import uuid
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from urllib.parse import quote, urlsplit, urlunsplit

import asyncpg
import pytest

from tests.support import said, workers
from tests.support.leaks import children, left_children, left_tasks
from tests.support.services import SESSION_PIDS, Estate
from tests.support.services_postgres import PostgresServer, with_database
from tests.support.services_rabbit import Management, RabbitNode

_TEMPLATE = f"template_{uuid.uuid4().hex[:12]}"
pytest_configure = workers.prepare
pytest_collection_modifyitems = workers.order
pytest_runtest_makereport = said.report


@pytest.fixture(autouse=True)
def nothing_left(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a test that leaves an asyncio task or a child process behind."""
    before = children()
    if inspect.iscoroutinefunction(getattr(request, "function", None)):
        request.getfixturevalue("no_task_left")
    yield
    assert [] == left_children(before)


@pytest.fixture
async def no_task_left() -> AsyncIterator[None]:
    yield
    assert [] == await left_tasks()


@pytest.fixture(scope="session")
def estate() -> Iterator[Estate]:
    """The folder and the owner of every server of this run; tests make their own servers in it."""
    opened = Estate.open()
    yield opened
    opened.close()


@dataclass(frozen=True, slots=True)
class GivenBroker:
    """A broker that was there before (TEST_AMQP_URL); management at TEST_MANAGEMENT_URL, else port 15672."""

    amqp_url: str

    @property
    def management_url(self) -> str:
        parts = urlsplit(self.amqp_url)
        account = parts.netloc.rpartition("@")[0]
        default = f"http://{account}@{parts.hostname}:15672" if account else f"http://{parts.hostname}:15672"
        return os.environ.get("TEST_MANAGEMENT_URL", default)

    @property
    def management(self) -> Management:
        return Management(self.management_url)


@dataclass(frozen=True, slots=True)
class GivenDatabase:
    """A server that was there before (TEST_DATABASE_URL); its user may create databases."""

    url: str

    def dsn(self, dbname: str = "") -> str:
        return with_database(self.url, dbname) if dbname else self.url


@pytest.fixture(scope="session")
def rabbit(estate: Estate) -> RabbitNode | GivenBroker:
    """The broker that tests share; one that wants to kill a node makes its own RabbitNode."""
    if given := os.environ.get("TEST_AMQP_URL"):
        return GivenBroker(given)
    node = RabbitNode(estate, "shared")
    node.start()
    SESSION_PIDS.update(node.pids)
    node.wait_ready()
    return node


@pytest.fixture
def amqp_url(rabbit: RabbitNode | GivenBroker) -> Iterator[str]:
    """A vhost of its own, removed with all that is in it."""
    vhost = f"test-{uuid.uuid4().hex[:12]}"
    rabbit.management.make_vhost(vhost)
    yield urlunsplit(urlsplit(rabbit.amqp_url)._replace(path=f"/{quote(vhost, safe='')}"))
    rabbit.management.drop_vhost(vhost)


@pytest.fixture(scope="session")
def postgres(estate: Estate) -> PostgresServer | GivenDatabase:
    """The database server that tests share; one that wants to kill a server makes its own PostgresServer."""
    if given := os.environ.get("TEST_DATABASE_URL"):
        return GivenDatabase(given)
    server = PostgresServer(estate, "postgres")
    server.start()
    SESSION_PIDS.update(server.pids)
    return server


@pytest.fixture(scope="session")
def migrated_template(postgres: PostgresServer | GivenDatabase) -> Iterator[str]:
    """The name of a database with the whole schema and no rows."""
    with ThreadPoolExecutor(1) as aside:  # a loop of its own, away from the tests'
        aside.submit(asyncio.run, _make_template(postgres)).result()
        yield _TEMPLATE
        aside.submit(asyncio.run, _execute(postgres, f"DROP DATABASE {_TEMPLATE} WITH (FORCE)")).result()


@pytest.fixture
async def database_url(postgres: PostgresServer | GivenDatabase, migrated_template: str) -> AsyncIterator[str]:
    """A migrated, empty database of its own."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    await _execute(postgres, f"CREATE DATABASE {name} TEMPLATE {migrated_template}")
    yield postgres.dsn(name)
    await _execute(postgres, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
async def empty_database_url(postgres: PostgresServer | GivenDatabase) -> AsyncIterator[str]:
    """A database of its own without any schema, for tests of the migrations."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    await _execute(postgres, f"CREATE DATABASE {name}")
    yield postgres.dsn(name)
    await _execute(postgres, f"DROP DATABASE {name} WITH (FORCE)")


async def _make_template(postgres: PostgresServer | GivenDatabase) -> None:
    from scheduler.store.migrate import migrate

    await _execute(postgres, f"CREATE DATABASE {_TEMPLATE}")
    await migrate(postgres.dsn(_TEMPLATE))


async def _execute(postgres: PostgresServer | GivenDatabase, statement: str) -> None:
    link = await asyncpg.connect(postgres.dsn())
    try:
        await link.execute(statement)
    finally:
        await link.close()
