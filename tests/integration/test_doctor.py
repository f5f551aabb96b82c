"""``scheduler doctor`` against a database and a broker: what it finds, and that it gives nothing away."""

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import pytest

from scheduler.cli.doctor_services import look_at_database
from scheduler.cli.findings import Health
from scheduler.clock import SystemClock
from scheduler.config import Settings
from scheduler.transport.amqp_admin import declare
from scheduler.transport.topology import topology
from tests.support.cli import Cli
from tests.support.services import free_port

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]  # each command is a process

PASSWORD = "hunter2-hunter2"


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    return Cli(tmp_path)


def checks(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {check["name"]: check for check in document["checks"]}


async def test_a_whole_setup_is_healthy(cli: Cli, database_url: str, amqp_url: str):
    cli.environment |= {"DATABASE_URL": database_url, "AMQP_URL": amqp_url}
    missing = checks(cli.json("doctor", code=1))["topology"]
    await declare(amqp_url, topology({"default": 1000}))

    found = cli.json("doctor")

    assert ("fail", "run `scheduler broker declare`") == (missing["health"], missing["advice"])
    assert found["healthy"]
    of = checks(found)
    assert {"ok"} == {of[name]["health"] for name in ("database", "schema", "clock", "broker", "topology")}
    assert of["database"]["found"].startswith("PostgreSQL ")
    assert of["broker"]["found"].startswith("RabbitMQ ")


class Delayed(SystemClock):
    """A clock on a machine that stands still for a while whenever it was read."""

    def __init__(self, seconds: float) -> None:
        self._late = timedelta(seconds=seconds)
        self._asked = 0

    def now(self) -> datetime:
        self._asked += 1
        return super().now() + (self._asked - 1) * self._late


async def test_an_answer_that_took_long_says_nothing_against_the_clocks(database_url: str):
    """It was given at the beginning of that time, or at the end: nobody knows."""
    settings = Settings.model_validate({"database_url": database_url})

    findings, _ = await look_at_database(settings, Delayed(5.0))

    assert [Health.OK] == [finding.health for finding in findings if finding.name == "clock"]


def test_a_database_without_a_schema_says_what_to_run(cli: Cli, empty_database_url: str):
    cli.environment["DATABASE_URL"] = empty_database_url

    schema = checks(cli.json("doctor", code=1))["schema"]

    assert ("fail", "run `scheduler db migrate`") == (schema["health"], schema["advice"])


def test_what_is_not_there_fails_and_no_password_is_shown(cli: Cli):
    cli.environment |= {
        "DATABASE_URL": f"postgresql://me:{PASSWORD}@127.0.0.1:{free_port()}/x",
        "AMQP_URL": f"amqp://me:{PASSWORD}@127.0.0.1:{free_port()}/",
    }

    said = cli("doctor", code=1)

    assert said.count("fail  ") == 2
    assert PASSWORD not in said


def test_a_wrong_user_of_the_broker_fails_and_is_not_shown(cli: Cli, amqp_url: str):
    parts = urlsplit(amqp_url)
    wrong = parts._replace(netloc=f"nobody:{PASSWORD}@{parts.hostname}:{parts.port}")
    cli.environment["AMQP_URL"] = urlunsplit(wrong)

    said = cli("doctor", code=1)

    assert "fail  broker" in said
    assert PASSWORD not in said


def test_a_machine_with_nothing_set_up_is_well_enough_to_begin(cli: Cli):
    found = checks(cli.json("doctor"))

    assert ("warn", "start `scheduler up`, or set DATABASE_URL") == (
        found["database"]["health"],
        found["database"]["advice"],
    )
