"""Values of secrets put everywhere a job can put them, then looked for in all that this program keeps or says."""

import asyncio
import random
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest
import pytest_asyncio
from aiohttp import web

from scheduler import logs
from scheduler.clock import SystemClock
from scheduler.config import Settings
from scheduler.definitions.load import load
from scheduler.embedded_scheduler import EmbeddedScheduler
from scheduler.ports import Out, PublishOutcome
from scheduler.store.control import trigger_jobs
from scheduler.store.reading import RunFilter, list_runs
from scheduler.transport.memory_broker import MemoryBroker
from scheduler.wiring import Code, World
from tests.support.cli import Cli

CANARY = "canary-7f3d9c"
JOBS = """
version: 1
defaults: {secrets: {TOKEN: {env: CANARY_TOKEN}, KEY: {file: KEY_FILE}}}
jobs:
  command: {run: {command: [sh, -c, 'echo "$TOKEN"; echo "$KEY" >&2; echo "\\"$KEY\\"" >"$SCHEDULER_RESULT"']}}
  script: {run: {script: {text: 'echo "$TOKEN" | base64; exit 3'}}}
  function: {run: {python: "work_with_secrets:fail"}}
  handler: {run: {handler: tell}}
  call:
    run:
      http:
        url: "http://127.0.0.1:PORT/{{ secrets.TOKEN }}"
        headers: {Authorization: "Bearer {{ secrets.KEY }}"}
        json: {key: "{{ secrets.TOKEN }}"}
  chained: {run: {command: [echo, "{{ results.call }}"]}, needs: [call], secrets: {}}
"""
CODE = """
from scheduler.handlers import handler

@handler("tell")
def tell(ctx, params):
    ctx.log(ctx.secrets["TOKEN"])
    return dict(ctx.secrets)

def fail(ctx):
    raise ValueError(ctx.secrets["TOKEN"])
"""


class KeepingBroker(MemoryBroker):
    """Keeps every body that is published."""

    def __init__(self) -> None:
        super().__init__()
        self.bodies: list[bytes] = []

    def publish(self, out: Out) -> PublishOutcome:
        self.bodies.append(out.body)
        return super().publish(out)


async def _echo(request: web.Request) -> web.Response:
    said = {"path": request.path, "auth": request.headers["Authorization"], "json": await request.json()}
    return web.json_response(said, headers={"X-Echo": request.path})


@pytest_asyncio.fixture
async def echo_port() -> AsyncIterator[int]:
    """The port of a server that answers with what it is told."""
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", _echo)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    listening = socket.create_server(("127.0.0.1", 0))
    await web.SockSite(runner, listening).start()
    yield listening.getsockname()[1]
    await runner.cleanup()


async def _everything_stored(db: asyncpg.Connection) -> str:
    tables = await db.fetch(
        "SELECT format('%I.%I', schemaname, tablename) FROM pg_tables WHERE schemaname !~ '^(pg_|inf)'"
    )
    return "\n".join(
        [str(row[0]) for table in tables for row in await db.fetch(f"SELECT t::text FROM {table[0]} AS t")]
    )


@pytest.mark.slow
@pytest.mark.timeout(180)  # a machine that does other things too
async def test_no_value_of_a_secret_is_stored_sent_logged_or_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], echo_port: int
) -> None:
    (tmp_path / "key").write_text(f"{CANARY}-key\n")
    monkeypatch.setenv("CANARY_TOKEN", f"{CANARY}-token")
    jobs = JOBS.replace("KEY_FILE", str(tmp_path / "key")).replace("PORT", str(echo_port))
    (tmp_path / "jobs.yaml").write_text(jobs)
    (tmp_path / "work_with_secrets.py").write_text(CODE)
    clock, broker, state = SystemClock(), KeepingBroker(), tmp_path / "state"
    logs.configure(clock, level="debug", log_format="json")
    settings = Settings.model_validate({"data_dir": state, "allow_networks": "127.0.0.1/32"})
    names = ["command", "script", "function", "handler", "call"]
    world = World(settings, clock, random.Random(1), Code(tmp_path, ("work_with_secrets",)), broker)
    async with EmbeddedScheduler(world) as scheduler:
        await scheduler.apply(load([tmp_path / "jobs.yaml"]))
        store = scheduler.stores.main
        await trigger_jobs(store, "default", names, params=None, clock=clock)
        ended = RunFilter(states=["succeeded", "failed"])
        async with asyncio.timeout(120):
            while len(runs := await list_runs(store, "default", ended)) < len(names) + 1:
                await clock.sleep(0.05)
        async with store.connection() as db:
            stored = await _everything_stored(db)
        said = [
            await asyncio.to_thread(Cli(tmp_path), *command)
            for run in runs
            for command in (("run", "show", str(run["id"]), "--json"), ("run", "logs", str(run["id"])))
        ]

    result = {run["job"]: run["result"] for run in runs}
    assert result["call"] == {"path": "/***", "auth": "Bearer ***", "json": {"key": "***"}}
    assert (result["command"], result["handler"]) == ("***", {"TOKEN": "***", "KEY": "***"})
    assert {run["job"]: run["reason"] for run in runs}["function"] == "ValueError: ***; attempt 1 of 1"
    assert "***" in stored
    assert len(broker.bodies) > len(names)
    files = [path for path in state.rglob("*") if path.is_file()]
    assert any("pg_wal" in path.parts for path in files)
    everything = b"\n".join([*broker.bodies, *(path.read_bytes() for path in files)])
    for text in (stored, *said, capsys.readouterr().out, everything.decode("latin-1")):
        assert CANARY not in text
        assert "Y2FuYXJ5LTdmM2Q5Y" not in text, "its base64"
