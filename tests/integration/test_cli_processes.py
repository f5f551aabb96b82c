"""One actor per process on a real broker and a real database: started in any order, drained, rebuilt."""

import asyncio
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from tests.support.cli import COMMAND, Cli, end, status, until
from tests.support.forked import Forked
from tests.support.proxy import Mode, Proxy
from tests.support.services import free_port

pytestmark = pytest.mark.timeout(240)  # dozens of processes, on machines that do other things too

ACTORS = ("ticker", "dispatcher", "recorder", "executor")
JOBS = """
version: 1
jobs:
  tick: {run: {command: ["true"]}, triggers: [{every: 500ms}]}
  greet: {run: {handler: greet}, params: {who: world}}
  crash: {run: {handler: crash}}
"""
HANDLERS = """
import ctypes
from scheduler.handlers import handler

@handler("greet")
async def greet(ctx, params):
    return {"hello": params["who"]}

@handler("crash")
async def crash(ctx, params):
    ctypes.string_at(0)
"""


@pytest.fixture
def cli(tmp_path: Path, amqp_url: str) -> Cli:
    made = Cli(tmp_path)
    made.environment["AMQP_URL"] = amqp_url
    (tmp_path / "jobs.yaml").write_text(JOBS)
    (tmp_path / "my_handlers.py").write_text(HANDLERS)
    return made


class Fleet:
    """The four actors as processes."""

    def __init__(self, cli: Cli) -> None:
        self.ports = {actor: free_port() for actor in ACTORS}
        self.processes: dict[str, Forked] = {}
        self._cli = cli
        for actor in self.ports:
            self.start(actor)

    def start(self, actor: str) -> None:
        extra = ("--handlers", "my_handlers") if actor == "executor" else ()
        self.processes[actor] = self._cli.begin("start", actor, "--probe-port", str(self.ports[actor]), *extra)

    def wait(self, code: int, path: str = "/readyz") -> None:
        for actor, port in self.ports.items():
            until(lambda port=port: status(port, path) == code, f"{actor} {path} {code}")

    def end(self) -> dict[str, int]:
        return {actor: end(process) for actor, process in self.processes.items()}


@pytest.fixture
def start_fleet(cli: Cli) -> Iterator[Callable[[], Fleet]]:
    """Starts the four actors; what is left of them is killed."""
    made: list[Fleet] = []

    def start() -> Fleet:
        made.append(Fleet(cli))
        return made[-1]

    yield start
    for fleet in made:
        for process in fleet.processes.values():
            process.kill()
            process.wait()


@pytest.mark.slow
def test_actors_wait_for_schema_and_topology_then_work_and_drain(
    cli: Cli, start_fleet: Callable[[], Fleet], empty_database_url: str
) -> None:
    """The one-shot init may come last; then due times become runs, and SIGTERM ends each with 0."""
    cli.environment["DATABASE_URL"] = empty_database_url
    fleet = start_fleet()
    fleet.wait(200, "/livez")
    fleet.wait(503)

    cli("db", "migrate")
    cli("broker", "declare")
    fleet.wait(200)
    cli("apply", "jobs.yaml")

    until(lambda: len(cli.json("runs", "--job", "tick", "--state", "succeeded")["runs"]) >= 2, "two runs")
    found = cli.json("trigger", "greet", "--params", '{"who": "you"}', "--wait")["firings"][0]
    assert cli.json("run", "show", found["run"])["result"] == {"hello": "you"}
    assert cli.json("health")["healthy"]
    assert cli.json("broker", "check")["differences"] == []
    assert fleet.end() == dict.fromkeys(ACTORS, 0)


@pytest.mark.slow
def test_a_broker_that_was_wiped_is_rebuilt_from_the_database(
    cli: Cli, start_fleet: Callable[[], Fleet], database_url: str
) -> None:
    cli.environment["DATABASE_URL"] = database_url
    cli("broker", "declare")
    cli("apply", "jobs.yaml")
    cli("trigger", "greet")

    rebuilt = cli.json("broker", "rebuild")

    assert rebuilt["owed"]["firings"] == 1
    assert any(line.startswith("queue scheduler.dead-letters ") for line in rebuilt["done"])
    fleet = start_fleet()
    until(lambda: cli.json("runs", "--job", "greet", "--state", "succeeded")["runs"], "the run")
    fleet.wait(200)
    assert fleet.end() == dict.fromkeys(ACTORS, 0)


@pytest.mark.slow
def test_handler_that_crashes_the_interpreter_ends_one_executor_and_no_more(
    cli: Cli, start_fleet: Callable[[], Fleet], database_url: str
) -> None:
    cli.environment |= {"DATABASE_URL": database_url, "SCHEDULER_LEASE": "3s"}
    cli("broker", "declare")
    cli("apply", "jobs.yaml")
    fleet = start_fleet()
    cli("trigger", "crash")
    assert fleet.processes["executor"].wait(60) == -signal.SIGSEGV

    fleet.start("executor")
    (run,) = until(lambda: cli.json("runs", "--job", "crash", "--state", "failed")["runs"], "the end of the run")

    outcomes = [attempt["outcome"] for attempt in cli.json("run", "show", run["id"])["attempts"]]
    assert ["lost", "failed"] == sorted(outcomes, reverse=True)
    assert "ended by SIGSEGV; attempt 1 of 1" == run["reason"]
    fleet.wait(200)
    assert fleet.end() == dict.fromkeys(ACTORS, 0)


@pytest.mark.slow
def test_up_uses_the_broker_and_the_database_that_are_named(cli: Cli, database_url: str) -> None:
    cli.environment["DATABASE_URL"] = database_url
    port = free_port()
    process = cli.begin("up", "jobs.yaml", "--handlers", "my_handlers", "--port", str(port))
    until(lambda: status(port, "/readyz") == 200, "ready")

    assert cli.json("trigger", "greet", "--wait")["firings"][0]["state"] == "succeeded"
    assert not (cli.folder / "state" / "postgres").exists()
    assert end(process) == 0


@pytest.mark.slow
@pytest.mark.parametrize(("second", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_the_second_signal_ends_a_drain_at_once(cli: Cli, database_url: str, second: int, code: int) -> None:
    cli.environment["DATABASE_URL"] = database_url
    (cli.folder / "long.yaml").write_text('version: 1\njobs: {long: {run: {command: [sleep, "50"]}}}\n')
    port = free_port()
    process = cli.begin("up", "long.yaml", "--port", str(port))
    until(lambda: status(port, "/readyz") == 200, "ready")
    cli("trigger", "long")
    until(lambda: cli.json("runs", "--state", "running")["runs"], "the run")

    process.send_signal(signal.SIGTERM)
    until(lambda: "host.draining" in (cli.folder / "up-long.yaml.log").read_text(), "the drain")

    assert end(process, second) == code


@pytest.mark.slow
def test_one_shot_commands_say_in_one_line_that_something_is_away(cli: Cli, empty_database_url: str) -> None:
    cli.environment["DATABASE_URL"] = empty_database_url
    assert "scheduler db migrate" in cli("jobs", code=69)
    cli("db", "migrate")
    cli.environment["AMQP_URL"] = f"amqp://guest:guest@127.0.0.1:{free_port()}/"

    said = cli("broker", "declare", code=69)

    assert said.startswith("error: broker amqp://127.0.0.1:")
    assert said.count("\n") == 1


async def test_a_database_that_goes_away_while_a_command_waits_is_said_in_one_line(cli: Cli, database_url: str) -> None:
    cli.environment["DATABASE_URL"] = database_url
    await asyncio.to_thread(cli, "apply", "jobs.yaml")
    server = urlsplit(database_url)
    db = await asyncpg.connect(database_url)
    async with Proxy(server.hostname or "", server.port or 0) as proxy:
        away = urlunsplit(server._replace(netloc=f"{server.username}@127.0.0.1:{proxy.port}"))
        waiting = await asyncio.create_subprocess_exec(
            *(*COMMAND, "trigger", "greet", "--wait"),
            cwd=cli.folder,
            env=cli.environment | {"DATABASE_URL": away},
            stderr=asyncio.subprocess.PIPE,
        )
        async with asyncio.timeout(60):
            while not await db.fetchval("SELECT count(*) FROM scheduler.firings"):
                await asyncio.sleep(0.05)
        await db.close()
        proxy.mode = Mode.REFUSE
        proxy.cut()

        _, said = await waiting.communicate()

    assert (69, 1) == (waiting.returncode, said.count(b"\n")), said.decode()
    assert said.startswith(f"error: database at 127.0.0.1:{proxy.port}".encode())
