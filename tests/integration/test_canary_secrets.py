"""A secret in every place where one may stand, on real servers; then it is looked for in all that anybody can read."""

import asyncio
import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, urlsplit, urlunsplit

import aiormq
import asyncpg
import pytest

from scheduler.domain.secret_forms import forms_of
from scheduler.transport.broker_url import vhost_of
from scheduler.wiring import ACTORS
from tests.support.cli import Cli, end, status, until
from tests.support.services import free_port
from tests.support.services_rabbit import RabbitNode

PLACES = ("database", "broker", "management", "publish", "jwt", "job-env", "job-file")
CANARIES = {place: f'{place} canary/"7f3d9c+{index}' for index, place in enumerate(PLACES)}
FORMS = {form: place for place, secret in CANARIES.items() for form in forms_of(secret)}
JOBS = """
version: 1
defaults: {secrets: {TOKEN: {env: CANARY_TOKEN}, KEY: {file: KEY_FILE}}}
jobs:
  tells: {run: {command: [sh, -c, 'echo "$TOKEN"; printf %s "x$KEY" | base64 -w0 >&2; cat /proc/$PPID/environ; env']}}
  fails: {run: {command: [sh, -c, 'echo "$TOKEN" >&2; exit 3']}, retry: {attempts: 2, initial: 100ms}}
  raises: {run: {python: "work:fail"}}
  calls: {run: {http: {url: "http://127.0.0.1:9/{{ secrets.TOKEN }}", headers: {X-Key: "{{ secrets.KEY }}"}}}}
"""
CODE = "def fail(ctx):\n    raise ValueError(ctx.secrets['TOKEN'] + ctx.secrets['KEY'])\n"
COMMANDS = (
    ("config", "show"),
    ("doctor",),
    ("health",),
    ("jobs",),
    ("runs",),
    ("firings",),
    ("executors",),
    ("stats",),
    ("dead", "list"),
    ("broker", "check"),
    ("broker", "users"),
)


def with_password(url: str, user: str, password: str) -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=f"{user}:{quote(password, safe='')}@{parts.hostname}:{parts.port}"))


@pytest.fixture
def node(rabbit: object) -> RabbitNode:
    assert isinstance(rabbit, RabbitNode), "its messages are traced by its own tools"
    return rabbit


@pytest.fixture
def cli(tmp_path: Path, amqp_url: str, database_url: str, node: RabbitNode) -> Iterator[Cli]:
    vhost, call = vhost_of(amqp_url), node.management.call
    every = {"configure": ".*", "write": ".*", "read": ".*"}
    for place, tags in (("broker", ""), ("management", "administrator")):
        call("PUT", f"users/{vhost}-{place}", {"password": CANARIES[place], "tags": tags})
        call("PUT", f"permissions/{vhost}/{vhost}-{place}", every)
    made = Cli(tmp_path)
    (tmp_path / "jobs.yaml").write_text(JOBS.replace("KEY_FILE", str(tmp_path / "key")))
    (tmp_path / "work.py").write_text(CODE)
    (tmp_path / "key").write_text(CANARIES["job-file"])
    (tmp_path / "management").write_text(
        with_password(node.management_url, f"{vhost}-management", CANARIES["management"])
    )
    made.environment |= {
        "AMQP_URL": with_password(amqp_url, f"{vhost}-broker", CANARIES["broker"]),
        "DATABASE_URL": with_password(database_url, "postgres", CANARIES["database"]),
        "SCHEDULER_MANAGEMENT_URL_FILE": str(tmp_path / "management"),
        "SCHEDULER_PUBLISH_URL": with_password(amqp_url, "publisher", CANARIES["publish"]),
        "SCHEDULER_JWT__SECRET": CANARIES["jwt"] + "0123456789abcdefghij",
        "CANARY_TOKEN": CANARIES["job-env"],
        "SCHEDULER_ALLOW_NETWORKS": "127.0.0.0/8",
        "SCHEDULER_ALLOW_PORTS": "9",
        "SCHEDULER_HTTP__PORT": "0",
    }
    node.ctl("trace_on", "-p", vhost)
    yield made
    node.ctl("trace_off", "-p", vhost)
    for place in ("broker", "management"):
        call("DELETE", f"users/{vhost}-{place}")


def found_in(text: str) -> set[str]:
    """Return the places whose secret is in ``text``, in any form."""
    return {place for form, place in FORMS.items() if form in text}


async def read_database(url: str) -> dict[str, str]:
    db = await asyncpg.connect(url)
    try:
        tables = await db.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'scheduler'")
        return {
            name: "\n".join(row[0] for row in await db.fetch(f'SELECT t::text FROM scheduler."{name}" AS t'))
            for (name,) in tables
        }
    finally:
        await db.close()


async def tap(url: str) -> None:
    link = await aiormq.connect(url)
    channel = await link.channel()
    await channel.queue_declare("tap", durable=True)
    await channel.queue_bind("tap", "amq.rabbitmq.trace", "#")
    await link.close()


async def read_tap(url: str) -> list[str]:
    """Return each message that was published or delivered: its headers and its body."""
    link = await aiormq.connect(url)
    channel = await link.channel()
    said = []
    while (taken := await channel.basic_get("tap", no_ack=True)).body:
        said.append(f"{taken.header.properties.headers} {taken.body.decode(errors='replace')}")
    await link.close()
    return said


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_no_secret_is_in_logs_answers_database_or_messages(cli: Cli, amqp_url: str, database_url: str) -> None:
    asyncio.run(tap(amqp_url))
    answers = [cli("broker", "declare"), cli("apply", "jobs.yaml")]
    with contextlib.ExitStack() as stack:
        for actor in ACTORS:
            port = free_port()
            process = cli.begin_anew("start", actor, "--probe-port", str(port))
            stack.callback(end, process)
            until(lambda port=port: status(port, "/readyz") == 200, f"{actor} ready")
        answers.append(cli("trigger", "tells", "fails", "raises", "calls", "--wait", code=1))
        runs = cli.json("runs")["runs"]
        for run in runs:
            answers += [cli("run", *words, run["id"]) for words in (("show",), ("logs",), ("why",))]
            answers.append(json.dumps(cli.json("run", "show", run["id"])))
        for command in COMMANDS:
            with contextlib.suppress(AssertionError):  # an exit code that says what is not well
                answers.append(cli(*command))
            answers.append(str(cli.json(*command)) if command[0] not in {"doctor", "health"} else "")
    cli.environment["AMQP_URL"] = cli.environment["AMQP_URL"].replace("-broker:", "-nobody:")
    answers.append(cli("broker", "check", code=69))
    logs = [path.read_text() for path in cli.folder.glob("*.log")]
    messages, tables = asyncio.run(read_tap(amqp_url)), asyncio.run(read_database(database_url))

    assert {"succeeded", "failed"} == {run["state"] for run in runs}
    assert "***" in "".join(answers), "the jobs told their secrets, and they were masked"
    assert len(messages) > 20
    assert {"run.failed", "attempt.started"} <= {
        json.loads(line)["message"] for log in logs for line in log.splitlines()
    }
    assert len(logs) == len(ACTORS)
    assert tables["runs"]
    assert set() == found_in("\n".join(logs))
    assert set() == found_in("\n".join(answers))
    assert set() == found_in("\n".join(messages))
    assert {name: places for name, text in tables.items() if (places := found_in(text))} == {}
