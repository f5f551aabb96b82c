"""The handlers in examples/handlers, each run through the runner on real files."""

import hashlib
import json
import os
import time
from pathlib import Path

import pytest

from scheduler.clock import SystemClock
from scheduler.definitions.load import load
from scheduler.sandbox.address_guard import NetworkPolicy
from scheduler.sandbox.handlers import HandlerRegistry
from scheduler.sandbox.runner import Runner
from schemas.vocabulary import Outcome
from schemas.work import TimeLimits
from tests.support.attempts import Place, alive, calling

EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "handlers"
ORDERS = "id,amount,name\n1,10.5,Ann\n2,x,Bob\n3,20,Zoë\n"


@pytest.fixture
async def place(tmp_path):
    registry = HandlerRegistry(EXAMPLES)
    registry.load(["handlers.py"])
    runner = Runner(
        code_dir=EXAMPLES, run_dir=tmp_path / "runs", handlers=registry, network=NetworkPolicy(), clock=SystemClock()
    )
    await runner.start()
    yield Place(runner, tmp_path)
    await runner.close()


@pytest.fixture
def orders(tmp_path):
    path = tmp_path / "orders.csv"
    path.write_text(ORDERS, encoding="utf-8")
    return str(path)


async def test_all_eight_are_registered(place):
    names = "alert_check analysis cleanup custom_script data_collection export policy_execution search"

    assert place.runner.handlers == tuple(names.split())


async def test_search_finds_lines(place, tmp_path):
    (tmp_path / "logs" / "deep").mkdir(parents=True)
    (tmp_path / "logs" / "a.log").write_bytes(b"fine\nERROR one\xff\n")
    (tmp_path / "logs" / "deep" / "b.log").write_text("ERROR two\n" * 3)
    (tmp_path / "logs" / "c.txt").write_text("ERROR three\n")
    params = {"folder": str(tmp_path / "logs"), "match": "*.log", "text": "ERROR", "max": 3}

    result = (await place.run(calling("search", params=params))).result

    found = [(Path(match["file"]).name, match["line"]) for match in result["matches"]]
    assert found == [("a.log", 2), ("b.log", 1), ("b.log", 2)]
    assert not result["complete"]


async def test_analysis_counts_what_is_a_number(place, orders):
    result = (await place.run(calling("analysis", params={"file": orders, "column": "amount"}))).result

    assert (result["count"], result["skipped"], result["mean"]) == (2, 1, 15.25)


async def test_analysis_of_nothing_is_a_failure(place, orders):
    ended = await place.run(calling("analysis", params={"file": orders, "column": "name"}))

    assert (ended.outcome, ended.exception) == (Outcome.FAILED, "ValueError")


async def test_export_writes_json_lines_with_their_checksum(place, orders, tmp_path):
    target = tmp_path / "orders.jsonl"

    result = (await place.run(calling("export", params={"file": orders, "to": str(target)}))).result

    lines = [json.loads(line) for line in target.read_text(encoding="utf-8").splitlines()]
    assert lines[2] == {"id": "3", "amount": "20", "name": "Zoë"}
    assert (result["rows"], result["sha256"]) == (3, hashlib.sha256(target.read_bytes()).hexdigest())
    assert not list(tmp_path.glob(".orders*"))


async def test_cleanup_keeps_the_newest_and_the_young(place, tmp_path):
    folder = tmp_path / "old"
    folder.mkdir()
    for days in (0, 5, 20, 30, 40):
        path = folder / f"{days}.log"
        path.write_text("x" * 10)
        os.utime(path, (time.time() - days * 86_400 - 60,) * 2)
    (folder / "keep.txt").touch()
    params = {"folder": str(folder), "match": "*.log", "days": 10, "keep": 3}

    result = (await place.run(calling("cleanup", params=params))).result

    assert result == {"removed": ["30.log", "40.log"], "freed_bytes": 20, "kept": 3}
    assert sorted(path.name for path in folder.iterdir()) == ["0.log", "20.log", "5.log", "keep.txt"]


@pytest.mark.parametrize(("value", "alert"), [(50, None), (5, "below 10"), (95, "above 90")])
async def test_alert_check_fails_outside_its_bounds(place, tmp_path, value, alert):
    (tmp_path / "metrics.json").write_text(json.dumps({"disk": value}))
    params = {"file": str(tmp_path / "metrics.json"), "metric": "disk", "min": 10, "max": 90}

    ended = await place.run(calling("alert_check", params=params))

    assert ended.exception == ("AlertError" if alert else None)
    assert alert in ended.reason if alert else ended.result == {"metric": "disk", "value": value}


async def test_data_collection_feeds_an_alert(place, tmp_path):
    target = str(tmp_path / "facts.json")

    facts = (await place.run(calling("data_collection", params={"to": target}))).result
    alert = await place.run(calling("alert_check", params={"file": target, "metric": "disk_used_percent", "max": -1}))

    assert facts == json.loads(Path(target).read_text())
    assert facts["memory_available_mib"] > 0
    assert alert.exception == "AlertError"


@pytest.mark.parametrize("enforce", [False, True])
async def test_policy_execution_finds_broken_rules(place, tmp_path, enforce):
    inventory = [
        {"name": "a", "role": "web", "tls": True, "age": 3, "zone": "x"},
        {"name": "b", "role": "web", "tls": False, "age": 300, "zone": "x"},
        {"name": "c", "role": "db", "zone": "y"},
    ]
    (tmp_path / "servers.json").write_text(json.dumps(inventory))
    rules = [
        {"name": "tls", "where": {"role": "web"}, "require": {"tls": True}},
        {"name": "age", "require": {"age": {"max": 90}}},
        {"name": "zone", "require": {"zone": {"one_of": ["x", "y"]}}},
    ]
    params = {"inventory": str(tmp_path / "servers.json"), "rules": rules, "enforce": enforce}

    ended = await place.run(calling("policy_execution", params=params))

    assert ended.output.head.startswith("b: tls breaks tls\nb: age breaks age\nc: age breaks age\n")
    if enforce:
        assert (ended.exception, ended.reason) == ("PolicyError", "PolicyError: 3 broken rules")
    else:
        assert [(breach["object"], breach["rule"]) for breach in ended.result["broken"]] == [
            ("b", "tls"),
            ("b", "age"),
            ("c", "age"),
        ]


async def test_custom_script_runs_without_a_shell_in_between(place, tmp_path, monkeypatch):
    monkeypatch.setenv("DATABASE_URL", "canary")
    script = tmp_path / "job script.sh"
    script.write_text('echo "$1|$2"; env; exit "$3"\n')
    params = {"script": str(script), "arguments": ["$(id)", "; true", "0"], "env": {"A": "b"}}

    good = await place.run(calling("custom_script", params=params))
    bad = await place.run(calling("custom_script", params={**params, "arguments": ["", "", "4"]}))

    assert (good.outcome, good.result) == (Outcome.SUCCEEDED, {"exit_code": 0})
    assert good.output.head.startswith("$(id)|; true\n")
    assert "A=b" in good.output.head
    assert "canary" not in good.output.head
    assert (bad.exception, bad.reason) == ("ScriptError", "ScriptError: exit code 4")


async def test_custom_script_over_its_time_is_killed_with_its_children(place, tmp_path):
    script = tmp_path / "job.sh"
    script.write_text(f"sleep 60 & echo $! > {tmp_path}/pid\nwait\n")
    order = calling("custom_script", params={"script": str(script)}, limits=TimeLimits(soft_s=3, grace_s=5, hard_s=15))

    ended = await place.run(order)

    assert ended.outcome is Outcome.TIMED_OUT
    assert not alive(int((tmp_path / "pid").read_text()))


def test_the_example_jobs_name_registered_handlers():
    jobs = load([EXAMPLES / "jobs.yaml"]).jobs
    registry = HandlerRegistry(EXAMPLES)
    registry.load(["handlers.py"])

    assert sorted(job.run.handler for job in jobs.values()) == list(registry.names)
