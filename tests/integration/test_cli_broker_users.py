"""``scheduler broker users``: what is printed makes the users; passwords stay where they belong."""

import asyncio
from pathlib import Path

import aiormq
import pytest

from scheduler.transport.broker_url import vhost_of
from tests.conftest import GivenBroker
from tests.support.cli import Cli
from tests.support.services import Estate
from tests.support.services_rabbit import RabbitNode


@pytest.fixture
def cli(tmp_path: Path, amqp_url: str, rabbit: RabbitNode | GivenBroker) -> Cli:
    made = Cli(tmp_path)
    made.environment |= {"AMQP_URL": amqp_url, "SCHEDULER_MANAGEMENT_URL": rabbit.management_url}
    return made


async def connect(url: str) -> None:
    link = await aiormq.connect(url)
    await link.close()


@pytest.mark.slow
def test_the_printed_commands_make_the_users(cli: Cli, estate: Estate) -> None:
    node = RabbitNode(estate, "printed")
    node.start()
    try:
        node.wait_ready()
        cli.environment["AMQP_URL"] = node.amqp_url
        asked = ("broker", "users", "--pool", "default", "--reader", "crm")
        wanted = {user["name"]: user for user in cli.json(*asked)["users"]}
        printed = cli(*asked).splitlines()
        passwords = cli.folder / "passwords"
        passwords.mkdir()
        for name in ("scheduler-ticker", "scheduler-reader-crm"):  # each command takes a second
            (passwords / name).write_text(f"the-{name}\n")
        some = [line for line in printed if not line.startswith("#") and ("ticker" in line or "reader" in line)]
        node.run_script("\n".join([f"PASSWORDS={passwords}", *some]))

        for name in ("scheduler-ticker", "scheduler-reader-crm"):
            found = node.management.call("GET", f"permissions/%2F/{name}")
            rights = ("configure", "write", "read")
            assert [found[right] for right in rights] == [wanted[name][right] for right in rights]
            asyncio.run(connect(f"amqp://{name}:the-{name}@127.0.0.1:{node.port}/"))
        (topic,) = node.management.call("GET", "topic-permissions/%2F/scheduler-reader-crm")
        assert wanted["scheduler-reader-crm"]["topic"].items() <= topic.items()
        assert not any("the-scheduler" in line for line in printed)
    finally:
        node.close()


def test_passwords_are_kept_in_files_and_never_made_anew(
    cli: Cli, rabbit: RabbitNode | GivenBroker, amqp_url: str
) -> None:
    prefix = vhost_of(amqp_url)
    folder = cli.folder / "passwords"
    folder.mkdir()
    (folder / f"{prefix}-ticker").write_text("given-by-a-person\n")
    asked = ("broker", "users", "--apply", "--passwords", str(folder), "--prefix", prefix, "--pool", "default")

    first, second = cli.json(*asked)["users"], cli.json(*asked)["users"]

    try:
        assert {user["made"] for user in first} == {True}
        assert {user["made"] for user in second} == {False}
        assert {user["password"] for user in (*first, *second)} == {None}
        assert (folder / f"{prefix}-ticker").read_text() == "given-by-a-person\n"
        assert {path.stat().st_mode & 0o777 for path in folder.iterdir() if "ticker" not in path.name} == {0o600}
        assert {path.name for path in folder.iterdir()} == {user["name"] for user in first}
    finally:
        for user in first:
            rabbit.management.call("DELETE", f"users/{user['name']}")
