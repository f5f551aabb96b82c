"""What no process starts with: exit 78, before anything is opened or said to anybody, in one line without secrets."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from scheduler.errors import ConfigurationError
from scheduler.store.own_role import check_own_role
from scheduler.store.stores import Stores
from scheduler.wiring import ACTORS
from tests.support.cli import Cli, until

ELSEWHERE = "192.0.2.1"
"""Of the range for examples: nobody is there, and nobody is to be asked."""
HERE_AMQP, HERE_DATABASE = "amqp://me:here-secret@127.0.0.1/", "postgresql://me:here-secret@127.0.0.1/x"

REFUSED = {
    "guest at a remote broker": ({"AMQP_URL": f"amqps://guest:hidden-pw@{ELSEWHERE}/"}, "guest"),
    "guest by default": ({"AMQP_URL": f"amqps://{ELSEWHERE}/"}, "guest"),
    "guest on a private network": (
        {"AMQP_URL": f"amqp://guest:hidden-pw@{ELSEWHERE}/", "SCHEDULER_INSECURE_BROKER": "true"},
        "guest",
    ),
    "a remote broker without TLS": ({"AMQP_URL": f"amqp://me:hidden-pw@{ELSEWHERE}/"}, "without TLS"),
    "a broker that nobody verifies": ({"AMQP_URL": f"amqps://me:hidden-pw@{ELSEWHERE}/?no_verify_ssl=1"}, "verify"),
    "a remote database without a word of TLS": ({"DATABASE_URL": f"postgresql://me:hidden-pw@{ELSEWHERE}/x"}, "TLS"),
    "a remote database in plain text": (
        {"DATABASE_URL": f"postgresql://me:hidden-pw@{ELSEWHERE}/x?sslmode=disable"},
        "TLS",
    ),
    "plain text by the environment": (
        {"DATABASE_URL": f"postgresql://me:hidden-pw@{ELSEWHERE}/x", "PGSSLMODE": "allow"},
        "TLS",
    ),
    "no broker": ({"AMQP_URL": ""}, "no broker is named"),
    "no database": ({"DATABASE_URL": ""}, "no database is named"),
}


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    made = Cli(tmp_path)
    made.environment |= {"AMQP_URL": HERE_AMQP, "DATABASE_URL": HERE_DATABASE}
    return made


@pytest.mark.parametrize("what", REFUSED)
@pytest.mark.parametrize("actor", ACTORS)
def test_no_actor_starts_with(cli: Cli, actor: str, what: str) -> None:
    environment, reason = REFUSED[what]
    if actor == "executor" and "DATABASE_URL" in environment:
        environment = environment | {"AMQP_URL": f"amqp://me:hidden-pw@{ELSEWHERE}/"}  # it has no business with one
        reason = "without TLS"
    cli.environment |= environment

    said = cli("start", actor, code=ConfigurationError.exit_code)

    lines = said.splitlines()
    assert [line for line in lines if line.startswith("error: ") and reason in line], said
    assert not any(secret in said for secret in ("hidden-pw", "here-secret"))
    assert not any("link" in line for line in lines), "nothing was opened"


@pytest.mark.parametrize("what", ["a remote broker without TLS", "a remote database in plain text"])
def test_up_does_not_start_with(cli: Cli, what: str) -> None:
    cli.environment |= REFUSED[what][0]

    assert REFUSED[what][1] in cli("up", code=ConfigurationError.exit_code)


@pytest.mark.parametrize(
    ("setting", "value", "words"),
    [("HOST", "0.0.0.0", "beyond loopback: set probe_token"), ("TOKEN", "hidden-pw", "shorter than 32")],
)
@pytest.mark.parametrize("actor", ["executor", "ticker"])
def test_nobody_reads_or_guesses_his_way_to_metrics(cli: Cli, actor: str, setting: str, value: str, words: str) -> None:
    cli.environment[f"SCHEDULER_PROBE_{setting}"] = value

    said = cli("start", actor, code=ConfigurationError.exit_code)

    assert [line for line in said.splitlines() if line.startswith("error: ") and words in line], said
    assert "hidden-pw" not in said


@pytest.mark.parametrize("command", [("jobs",), ("db", "migrate"), ("health",), ("broker", "check")])
def test_a_command_does_not_send_a_password_in_plain_text_either(cli: Cli, command: tuple[str, ...]) -> None:
    cli.environment |= REFUSED["a remote database in plain text"][0]

    said = cli(*command, code=ConfigurationError.exit_code)

    assert "SCHEDULER_INSECURE_DATABASE" in said
    assert "hidden-pw" not in said


@pytest.mark.parametrize("url", [f"http://admin:hidden-pw@{ELSEWHERE}:15672", f"https://guest:x@{ELSEWHERE}:15671"])
def test_an_operators_password_is_not_sent_in_plain_text(cli: Cli, url: str) -> None:
    cli.environment["SCHEDULER_MANAGEMENT_URL"] = url

    said = cli("broker", "users", "--apply", "--pool", "default", code=ConfigurationError.exit_code)

    assert "management at 192.0.2.1" in said
    assert "hidden-pw" not in said


@asynccontextmanager
async def login_of(database_url: str, attributes: str, *, owner: bool = False) -> AsyncIterator[str]:
    """Make a user, let it own the schema or not, and lend the URL by which it logs in."""
    parts = urlsplit(database_url)
    name = f"user_{parts.path.rpartition('_')[2]}"
    db = await asyncpg.connect(database_url)
    try:
        await db.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'x' {attributes}")
        await db.execute(f"GRANT USAGE ON SCHEMA scheduler TO {name}")
        await db.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA scheduler TO {name}")
        if owner:
            await db.execute(f"ALTER SCHEMA scheduler OWNER TO {name}")
        yield urlunsplit(parts._replace(netloc=f"{name}:x@{parts.hostname}:{parts.port}"))
        await db.execute(f"REASSIGN OWNED BY {name} TO CURRENT_USER; DROP OWNED BY {name}; DROP ROLE {name}")
    finally:
        await db.close()


@pytest.mark.parametrize(
    ("attributes", "owner", "words"), [("BYPASSRLS", False, "bypasses row security"), ("", True, "owns the schema")]
)
async def test_an_actor_does_not_start_as_a_user_whom_nothing_holds(
    cli: Cli, database_url: str, attributes: str, words: str, *, owner: bool
) -> None:
    async with login_of(database_url, attributes, owner=owner) as url:
        cli.environment["DATABASE_URL"] = url
        process = cli.begin("start", "ticker", "--probe-port", "0")
        try:
            code = process.wait(60)
        finally:
            process.kill()

    assert ConfigurationError.exit_code == code
    assert words in (cli.folder / "start-ticker.log").read_text().splitlines()[-1]


async def test_a_superuser_is_refused_and_an_owner_only_until_somebody_allows_it(database_url: str) -> None:
    stores = await Stores.open(database_url, name="test")
    try:
        for allow_owner in (False, True):
            with pytest.raises(ConfigurationError, match="is a superuser"):
                await check_own_role(stores.main, allow_owner=allow_owner)
    finally:
        await stores.close()
    async with login_of(database_url, "", owner=True) as url:
        stores = await Stores.open(url, name="test")
        try:
            await check_own_role(stores.main, allow_owner=True)
        finally:
            await stores.close()


def test_what_was_allowed_is_said(cli: Cli) -> None:
    """With nobody there, the process waits: that it began to is what shows."""
    cli.environment |= REFUSED["a remote broker without TLS"][0] | {
        "SCHEDULER_INSECURE_BROKER": "true",
        "SCHEDULER_INSECURE_DATABASE": "true",
        "DATABASE_URL": f"postgresql://me:hidden-pw@{ELSEWHERE}/x?sslmode=disable",
    }
    process = cli.begin("start", "ticker", "--probe-port", "0")
    log = cli.folder / "start-ticker.log"
    try:
        until(lambda: log.read_text().count("safety.overridden") == 2, "both lines")
    finally:
        process.kill()
        process.wait()
    assert "hidden-pw" not in log.read_text()
