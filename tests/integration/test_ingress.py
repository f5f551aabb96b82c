"""The HTTP interface as people get it: in ``up``, as a process of its own, and when either goes."""

import asyncio
import json
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tests.support.api import TRUE, serving
from tests.support.cli import Cli, end, status, until
from tests.support.services import free_port

JOBS = "version: 1\njobs:\n  hello: {run: {command: [echo, hi]}}\n"


@pytest.fixture
def folder_cli(tmp_path: Path) -> Cli:
    (tmp_path / "jobs.yaml").write_text(JOBS)
    return Cli(tmp_path)


def asked(port: int, path: str, body: Any = None, key: str | None = None) -> Any:
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", data, headers)
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


def test_up_runs_what_is_asked_for_over_http_and_tells_what_it_wrote(folder_cli: Cli) -> None:
    port = free_port()
    up = folder_cli.begin("up", "jobs.yaml", "--port", str(port))
    try:
        until(lambda: status(port, "/readyz") == 200, "readiness")
        batch = asked(port, "/api/v1/runs:batch", {"runs": [{"job": "hello"}, {"job": "hello"}], "wait": "30s"})
        run = batch["runs"][0]["run"]

        assert (batch["over"], {row["state"] for row in batch["runs"]}) == (True, {"succeeded", None})
        assert asked(port, f"/api/v1/runs/{run}/logs")["attempts"][0]["head"] == "hi\n"
        assert asked(port, f"/api/v1/flows/{run}")["runs"][0]["job"] == "hello"
        health = asked(port, "/health/detailed")
        assert health["executors"][0]["pool"] == "default"
        assert {"database", "broker"} == health["round_trips_s"].keys()
        assert all(0 < seconds < 5 for seconds in health["round_trips_s"].values())
        assert "scheduler_ready 1.0" in urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics").read().decode()
    finally:
        assert end(up) == 0


def test_an_ingress_of_its_own_asks_who_is_calling(folder_cli: Cli, amqp_url: str, database_url: str) -> None:
    folder_cli.environment |= {"DATABASE_URL": database_url, "AMQP_URL": amqp_url, "SCHEDULER_HTTP__AUTH": "keys"}
    folder_cli("broker", "declare")
    folder_cli("apply", "jobs.yaml")
    key = folder_cli("key", "create", "ci", "--role", "operator").strip()
    port, probe = free_port(), free_port()
    ingress = folder_cli.begin("start", "ingress", "--port", str(port), "--probe-port", str(probe))
    try:
        until(lambda: status(probe, "/readyz") == 200, "readiness")

        assert (status(port, "/livez"), status(port, "/api/v1/jobs"), status(port, "/docs")) == (200, 401, 401)
        assert asked(port, "/api/v1/jobs", key=key)["jobs"][0]["name"] == "hello"
        assert folder_cli.json("key", "list")["keys"][0]["state"] == "good"
        folder_cli("key", "revoke", "ci")
        with pytest.raises(urllib.error.HTTPError) as refused:
            asked(port, "/api/v1/jobs", key=key)
        refused.value.close()
        assert refused.value.code == 401
    finally:
        assert end(ingress) == 0


async def test_what_is_being_answered_is_answered_before_it_goes(database_url: str) -> None:
    async with serving(database_url) as api:
        await api.apply(a=TRUE)
        async with api.db.transaction():
            await api.db.execute("SELECT FROM tenants FOR UPDATE")
            slow = asyncio.create_task(api.post("/api/v1/jobs/a/pause"))
            waits = (
                "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
            )
            async with asyncio.timeout(10):
                while not await api.db.fetchval(waits):
                    await asyncio.sleep(0.01)
            going = asyncio.create_task(api.ingress.drain())
            async with asyncio.timeout(10):
                while await _takes_connections(api.ingress.port):
                    await asyncio.sleep(0.01)

        assert (await slow).json["changed"] is True
        await going


async def _takes_connections(port: int) -> bool:
    try:
        _, writing = await asyncio.open_connection("127.0.0.1", port)
    except ConnectionError:  # refused, or reset: it came while the listening ended
        return False
    writing.close()
    return True
