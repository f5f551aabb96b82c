"""Jobs that start themselves by what they send: each chain ends, however it goes."""

import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from scheduler.domain.matching import MAX_DEPTH
from tests.support.cli import Cli, end, status, until
from tests.support.services import free_port

JOBS = """
version: 1
webhooks:
  round: {verify: none}
jobs:
  by-message:
    run: {publish: {exchange: scheduler.events, routing_key: default.round, json: {}}}
    triggers: [{event: {topic: round}}]
  by-webhook:
    run: {http: {url: "http://127.0.0.1:PORT/hooks/default/round", json: {}}}
    triggers: [{webhook: round}]
  by-interface:
    run: {http: {url: "http://127.0.0.1:PORT/api/v1/events", json: {topic: asked}}}
    triggers: [{event: {topic: asked}}]
  first:
    run: {publish: {exchange: scheduler.events, routing_key: default.mixed, json: {}}}
    triggers: [{ended: {job: second, state: succeeded}}]
  second:
    run: {command: ["true"]}
    triggers: [{event: {topic: mixed}}]
"""
CHAIN = MAX_DEPTH + 1
RUNS = {"by-message": CHAIN, "by-webhook": CHAIN, "by-interface": CHAIN, "first": CHAIN // 2, "second": CHAIN // 2 + 1}


@pytest.fixture
def port(tmp_path: Path) -> Iterator[int]:
    port = free_port()
    (tmp_path / "jobs.yaml").write_text(JOBS.replace("PORT", str(port)))
    cli = Cli(tmp_path)
    cli.environment["SCHEDULER_ALLOW_NETWORKS"] = "127.0.0.0/8"
    up = cli.begin("up", "jobs.yaml", "--port", str(port))
    try:
        until(lambda: status(port, "/readyz") == 200, "readiness")
        yield port
    finally:
        assert end(up) == 0


@pytest.mark.timeout(120)
def test_a_job_that_starts_itself_by_what_it_sends_ends_in_a_loop(port: int) -> None:
    begin = {"/hooks/default/round": {}} | {f"/api/v1/events#{topic}": {"topic": topic} for topic in ("round", "asked")}
    for path, body in begin.items():
        assert 202 == post(port, path.partition("#")[0], body)
    assert 202 == post(port, "/api/v1/events", {"topic": "mixed"})

    until(lambda: len(get(port, "events?verdict=loop")["events"]) == len(begin) + 1, "the end of every chain")

    found = [run["job"] for run in get(port, "runs?limit=200")["runs"]]
    assert {job: found.count(job) for job in RUNS} == RUNS
    reasons = [event["reason"] for event in get(port, "events?verdict=loop")["events"]]
    assert all(f"{CHAIN} runs led to it" in reason for reason in reasons), reasons


def get(port: int, path: str) -> dict[str, list[dict[str, str]]]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/v1/{path}") as answer:
        return json.load(answer)  # type: ignore[no-any-return]


def post(port: int, path: str, body: object) -> int:
    data, kind = json.dumps(body).encode(), {"Content-Type": "application/json"}
    with urllib.request.urlopen(urllib.request.Request(f"http://127.0.0.1:{port}{path}", data, kind)) as answer:
        return int(answer.status)
