"""The examples in Python and those of the page load, and run as they say."""

import asyncio
import random
import re
from pathlib import Path
from typing import Any

import pytest

from scheduler.clock import SystemClock
from scheduler.config import Settings
from scheduler.definitions.load import load
from scheduler.embedded_scheduler import EmbeddedScheduler
from scheduler.sandbox.address_guard import NetworkPolicy
from scheduler.sandbox.handlers import HandlerRegistry
from scheduler.sandbox.runner import Runner
from scheduler.transport.memory_broker import MemoryBroker
from scheduler.wiring import Code, World
from schemas.vocabulary import Outcome
from schemas.work import HandlerWork, PythonWork
from tests.support.attempts import Place, an_order

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples" / "python"
BLOCKS = re.findall(r"```python\n(.*?)```", (ROOT / "docs/python-api.md").read_text(encoding="utf-8"), re.DOTALL)


@pytest.fixture
async def place(tmp_path):
    registry = HandlerRegistry(EXAMPLES)
    registry.load(["reports.py"])
    runner = Runner(
        code_dir=EXAMPLES, run_dir=tmp_path / "runs", handlers=registry, network=NetworkPolicy(), clock=SystemClock()
    )
    await runner.start()
    yield Place(runner, tmp_path)
    await runner.close()


async def test_the_reports_run_in_processes_and_in_the_executor(place):
    jobs = load([EXAMPLES / "reports.py"]).jobs
    works = {
        name: HandlerWork(kind="handler", name=spec.run.handler)
        if spec.run.handler
        else PythonWork(kind="python", target=spec.run.python)
        for name, spec in jobs.items()
    }

    loaded = await place.run(an_order(works["load_orders"], params={"minimum": 50}))
    summed = await place.run(an_order(works["sum_up"], results={"load_orders": loaded.result}))
    alive = await place.run(an_order(works["heartbeat"], params=jobs["heartbeat"].params, isolation="inline"))

    assert loaded.result == {"day": "today", "rows": [120, 80]}
    assert summed.result == {"total": 200}
    assert summed.output.head == "2 orders\n"
    assert summed.metrics == {"orders": 2}
    assert (alive.outcome, alive.result) == (Outcome.SUCCEEDED, "hello monitor")


@pytest.mark.parametrize("text", [text for text in BLOCKS if "@job" in text])
def test_the_jobs_of_the_page_load(tmp_path, text):
    file = tmp_path / f"page_{abs(hash(text)):x}.py"
    file.write_text(text, encoding="utf-8")

    assert load([file]).jobs


@pytest.mark.parametrize("text", [text for text in BLOCKS if "TestScheduler" in text])
def test_the_tests_of_the_page_pass(monkeypatch, text):
    monkeypatch.syspath_prepend(str(EXAMPLES))
    names: dict[str, object] = {}
    exec(text, names)
    tests = [value for name, value in names.items() if name.startswith("test_") and callable(value)]

    for test in tests:
        test()
    assert tests


@pytest.mark.slow
async def test_the_client_of_the_page_talks_to_the_jobs_of_the_page(tmp_path, monkeypatch):
    (jobs,) = [text for text in BLOCKS if text.startswith("from scheduler import HandlerContext")]
    (client,) = [text for text in BLOCKS if "SyncClient" in text]
    file = tmp_path / "page_of_clients.py"
    file.write_text(jobs, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SCHEDULER_DATA_DIR", str(tmp_path / ".scheduler"))
    code = Code(tmp_path, (str(file),))
    said: list[tuple[Any, ...]] = []
    names: dict[str, Any] = {"print": lambda *words: said.append(words)}
    exec(client, names)

    world = World(Settings(data_dir=tmp_path / ".scheduler"), SystemClock(), random.Random(1), code, MemoryBroker())
    async with asyncio.timeout(60), EmbeddedScheduler(world) as scheduler:
        await scheduler.apply(load([file]))
        await names["nightly"]()
        await asyncio.to_thread(names["by_hand"])

    assert said == [("succeeded", {"rows": 3}, None), ("sum_up", True, False), ("say_alive", True, True)]
