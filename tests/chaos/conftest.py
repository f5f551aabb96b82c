"""Stages for chaos tests, made once for a module: starting a broker or four actors for each test would take minutes."""

import asyncio
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from tests.support.chaos import Stage

Query = Callable[[str, str], None]


@pytest.fixture(scope="module")
def execute() -> Iterator[Query]:
    """Run one statement on a server, on a loop away from the tests'."""

    async def statement(dsn: str, text: str) -> None:
        link = await asyncpg.connect(dsn)
        try:
            await link.execute(text)
        finally:
            await link.close()

    with ThreadPoolExecutor(1) as aside:
        yield lambda dsn, text: aside.submit(asyncio.run, statement(dsn, text)).result()


@pytest.fixture(scope="module")
def module_database(postgres, migrated_template: str, execute: Query) -> Iterator[str]:
    """A migrated, empty database of the shared server."""
    name = f"chaos_{uuid.uuid4().hex[:12]}"
    execute(postgres.dsn(), f"CREATE DATABASE {name} TEMPLATE {migrated_template}")
    yield postgres.dsn(name)
    execute(postgres.dsn(), f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(scope="module")
def queue_type() -> str:
    """What the stage's queues are; a module may have it otherwise."""
    return "auto"


@pytest.fixture(scope="module")
def module_vhost(rabbit, queue_type: str) -> Iterator[str]:
    """A vhost of the shared broker."""
    vhost = f"chaos-{queue_type}-{uuid.uuid4().hex[:12]}"
    rabbit.management.make_vhost(vhost)
    yield urlunsplit(urlsplit(rabbit.amqp_url)._replace(path=f"/{vhost}"))
    rabbit.management.drop_vhost(vhost)


@pytest.fixture(scope="module")
def stage(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    module_database: str,
    module_vhost: str,
    queue_type: str,
) -> Iterator[Stage]:
    """One of each actor, under the module's LEASE; they stay up from test to test."""
    folder = Path(tmp_path_factory.mktemp("stage"))
    opened = Stage(folder, module_database, module_vhost, lease=request.module.LEASE, queue_type=queue_type)
    opened.command("db", "migrate")
    opened.command("broker", "declare")
    opened.complete()
    yield opened
    opened.close()
