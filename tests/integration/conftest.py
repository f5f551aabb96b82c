"""A private PostgreSQL server below a directory that only we may enter, and tests that need to be root."""

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from scheduler.clock import SystemClock
from scheduler.embedded.postgres import PrivatePostgres
from tests.support.ticking import Stage, open_stage

collect_ignore = [] if os.geteuid() == 0 else ["test_embedded_postgres_as_root.py"]


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """Below a directory that only we may enter, as pytest's own is."""
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    return private / "state"


@pytest.fixture
async def private_postgres(data_dir: Path) -> AsyncIterator[PrivatePostgres]:
    made = PrivatePostgres(data_dir, SystemClock())
    await made.start()
    yield made
    await made.stop()


@pytest.fixture(params=["memory", "rabbitmq"])
def broker_url(request: pytest.FixtureRequest) -> str | None:
    """The test runs once with each broker: with the one in memory there is no URL."""
    if request.param == "memory":
        return None
    url: str = request.getfixturevalue("amqp_url")
    return url


@pytest.fixture
async def stage(database_url: str) -> AsyncIterator[Stage]:
    async with open_stage(database_url) as opened:
        yield opened
