"""Jobs written in Python: the decorator, and what its modules say as definitions."""

import asyncio
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import get_type_hints

import pytest

import scheduler
from scheduler.code.calling import arguments_for
from scheduler.code.job import ADAPTER, find_mark, job
from scheduler.code.triggers import (
    FileWatch,
    all_of,
    any_of,
    at,
    calendar,
    cron,
    every,
    on_ended,
    on_event,
    on_file,
    on_missing,
    on_system,
    on_webhook,
)
from scheduler.code.words import EventKeys, FileKeys, JobKeys, Resources, Retry, TriggerKeys
from scheduler.definitions.code_source import handler_module
from scheduler.definitions.load import load
from scheduler.errors import DefinitionsError
from scheduler.sandbox.handlers import HandlerRegistry
from schemas.definitions_file import DefinitionsFile
from schemas.event_trigger import EventTriggerModel, FileSpec
from schemas.job_spec import JobSpec, ResourcesSpec, RetrySpec
from schemas.trigger_model import TimeTriggerModel

ROOT = Path(__file__).parents[2]


@pytest.fixture
def module(tmp_path, request):
    """Write a module of its own name, so that no test meets another's."""

    def write(text: str) -> Path:
        path = tmp_path / f"code_{abs(hash(request.node.nodeid)):x}.py"
        path.write_text(f"from scheduler import *\n{text}")
        return path

    return write


def problems_of(path: Path) -> list[str]:
    with pytest.raises(DefinitionsError) as caught:
        load([path])
    return [line.removeprefix(f"{path}:") for line in caught.value.problems]


def test_a_module_says_the_same_as_a_file(module, tmp_path):
    path = module(
        "import datetime\n"
        "@job(cron('0 2 * * *'), retry=Retry(attempts=2, initial=datetime.timedelta(seconds=1), on=[ValueError, 3]))\n"
        "def load_orders(day='x'):\n  '''Load.\n\n  Much.'''\n"
        "@job(name='sum-up', needs=[load_orders], timeout='5m')\n"
        "async def add(ctx): ...\n"
    )
    text = (
        f"jobs:\n"
        f"  load_orders:\n"
        f"    description: Load.\n"
        f"    run: {{python: '{path.stem}:load_orders'}}\n"
        f"    triggers: [{{cron: '0 2 * * *'}}]\n"
        f"    retry: {{attempts: 2, initial: 1s, on: [ValueError, 3]}}\n"
        f"  sum-up: {{run: {{python: '{path.stem}:add'}}, needs: [load_orders], timeout: 5m}}\n"
    )
    (tmp_path / "same.yaml").write_text(text)

    assert load([path]).jobs == load([tmp_path / "same.yaml"]).jobs


def test_keys_of_the_file_stand_above_the_jobs(module):
    found = load(
        [
            module(
                "head = file_keys(tenant='acme', source='x', defaults={'timeout': '1m', 'timezone': 'Asia/Tokyo'},\n"
                "                 chains={'all': ['a', 'b']})\n"
                "@job\ndef a(): ...\n@job(timeout=Timeout(soft='1s'))\ndef b(): ...\n"
            )
        ]
    )

    assert (found.tenant, found.source) == ("acme", "x")
    assert found.jobs["b"].timeout.soft == timedelta(seconds=1)
    assert found.jobs["b"].timeout.hard == timedelta(minutes=1)
    assert [need.job for need in found.jobs["b"].needs] == ["a"]
    assert {spec.timezone for spec in found.jobs.values()} == {"Asia/Tokyo"}


def test_every_problem_is_told_with_the_line_of_its_function(module):
    path = module("@job(every('5x'))\ndef a(): ...\n\n@job(needs=['aa'], retyr={})\ndef b(): ...\n")

    first, second, third = problems_of(path)

    assert first.startswith("2:1: jobs.a.triggers[0].every: '5x' is no duration")
    assert second.startswith("5:1: jobs.b.needs[0].job: there is no job aa")
    assert third.startswith('5:1: jobs.b.retyr: unknown key; did you mean "retry"?')


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("x = 1\n1 / 0\n", "3:1: file: cannot load jobs: ZeroDivisionError"),
        ("x = (\n", "2:1: file: cannot load jobs: SyntaxError"),
        ("@job(name='A B')\ndef f(): ...\n", "2:1: file: cannot load jobs: ValueError"),
        ("def f(): ...\n", "1:1: file: there is no function decorated with @job"),
        ("@job\ndef a(): ...\n@job(name='a')\ndef b(): ...\n", "4:1: jobs.a: the job is given twice, first in"),
        ("a = file_keys()\nb = file_keys()\n@job\ndef c(): ...\n", "1:1: file: file_keys is called twice"),
        ("head = file_keys(sorce='x')\n@job\ndef c(): ...\n", '1:1: sorce: unknown key; did you mean "source"?'),
        ("@job(params={'a': object()})\ndef c(): ...\n", "2:1: jobs.c.params"),
    ],
)
def test_what_is_wrong_with_a_module_is_said(module, text, problem):
    assert any(line.startswith(problem) for line in problems_of(module(text)))


def test_a_folder_runs_nobodys_code(tmp_path):
    (tmp_path / "jobs.yaml").write_text("jobs: {a: {run: {command: [echo]}}}\n")
    (tmp_path / "never.py").write_text("raise RuntimeError\n")

    assert list(load([tmp_path]).jobs) == ["a"]


def test_jobs_for_the_executor_become_its_handlers(module):
    path = module(
        "@job(isolation='inline', params={'who': 'you'})\nasync def greet(who, ctx): return [who, ctx]\n"
        "@job(isolation='thread', name='all-of-it')\ndef whole(params): return params\n"
        "@job\ndef elsewhere(): ...\n"
    )
    found = load([path])
    registry = HandlerRegistry(path.parent)
    registry.load([str(path)])

    assert registry.names == ("all-of-it", "greet")
    assert found.jobs["greet"].run.handler == "greet"
    assert found.jobs["elsewhere"].run.python == f"{path.stem}:elsewhere"
    assert handler_module(path)
    greet, whole = registry.find("greet"), registry.find("all-of-it")
    assert greet.is_async
    assert greet.where == f"{path}:2"
    assert asyncio.run(greet.function("ctx", {"who": "you"})) == ["you", "ctx"]
    assert whole.function("ctx", {"a": 1}) == {"a": 1}


def test_the_function_stays_what_it_was():
    def work(a: int) -> int:
        """Do."""
        return a + 1

    work.__qualname__ = "work"

    assert job(every("1m"), isolation="thread")(work) is work
    assert work(1) == 2
    assert find_mark(work).name == "work"
    assert getattr(work, ADAPTER)(None, {"a": 2}) == 3


def make_generator():
    def numbers():
        yield 1

    numbers.__qualname__ = "numbers"
    return numbers


def make_async_generator():
    async def numbers():
        yield 1

    numbers.__qualname__ = "numbers"
    return numbers


@pytest.mark.parametrize("thing", [make_generator(), make_async_generator(), make_generator, int, 5, "every 5m"])
def test_what_cannot_be_a_job(thing):
    if thing is make_generator:
        job(thing)  # once is fine
    with pytest.raises(TypeError):
        job(every("1m"))(thing)


def test_a_function_inside_another_is_refused():
    def inner(): ...

    with pytest.raises(TypeError, match="inside another function"):
        job(inner)


def test_triggers_are_entries_of_a_file():
    assert cron("@daily", day_match="all") == {"cron": "@daily", "day_match": "all"}
    assert every("1 month", id="x") == {"every": "1 month", "id": "x"}
    assert at("2026-03-01 02:00", timezone="UTC") == {"at": ["2026-03-01 02:00"], "timezone": "UTC"}
    assert calendar({"business_day": -1}, max_fires=1) == {"calendar": {"business_day": -1}, "max_fires": 1}
    assert on_event("orders.#", where="event.data.x") == {"event": {"topic": "orders.#"}, "where": "event.data.x"}
    assert on_webhook("uploads", id="x") == {"webhook": "uploads", "id": "x"}
    assert on_file({"path": "/data/in", "match": "*.csv"}) == {"file": {"path": "/data/in", "match": "*.csv"}}
    assert on_ended("a-*", "failed", throttle="1/m") == {"ended": {"job": "a-*", "state": "failed"}, "throttle": "1/m"}
    assert on_system("run_long", after="1h", id="x") == {"system": {"on": "run_long", "after": "1h"}, "id": "x"}
    assert on_missing("09:00", event="a") == {"missing": {"event": "a", "by": "09:00"}}
    assert all_of(on_event("a"), on_event("b"), within="1d") == {
        "all_of": [{"event": {"topic": "a"}}, {"event": {"topic": "b"}}],
        "within": "1d",
    }
    assert any_of(on_event("a"), on_webhook("b")) == {"any_of": [{"event": {"topic": "a"}}, {"webhook": "b"}]}


@pytest.mark.parametrize(
    ("words", "model", "apart"),
    [
        (JobKeys, JobSpec, {"run", "triggers"}),
        (Retry, RetrySpec, set()),
        (Resources, ResourcesSpec, set()),
        (TriggerKeys, TimeTriggerModel, set()),
        (EventKeys, EventTriggerModel, set()),
        (FileWatch, FileSpec, set()),
        (FileKeys, DefinitionsFile, {"version", "jobs"}),
    ],
)
def test_python_has_every_key_of_the_file(words, model, apart):
    assert set(get_type_hints(words)) == set(model.model_fields) - apart


def test_arguments_by_name_as_a_whole_and_the_context():
    assert arguments_for(lambda a, b=2: 0, {"a": 1}, "ctx") == {"a": 1}
    assert arguments_for(lambda params, a=0: 0, {"a": 1, "b": 2}, "ctx") == {"params": {"a": 1, "b": 2}, "a": 1}
    assert arguments_for(lambda ctx: 0, {}, "ctx") == {"ctx": "ctx"}
    assert arguments_for(lambda ctx: 0, {"ctx": 1}, "ctx") == {"ctx": 1}
    assert arguments_for(lambda params: 0, {"params": 1}, "ctx") == {"params": 1}


def test_every_public_name_can_be_had_and_no_other():
    assert sorted(scheduler.__all__) == scheduler.__all__
    assert all(getattr(scheduler, name) is not None for name in scheduler.__all__)
    assert set(scheduler.__all__) <= set(dir(scheduler))
    with pytest.raises(AttributeError, match="no_such"):
        _ = scheduler.no_such


@pytest.mark.parametrize(
    ("statement", "unwanted"),
    [
        ("import scheduler", {"typing", "inspect", "pydantic", "asyncio"}),
        ("from scheduler import job, cron, every, at, on_event, Retry", {"pydantic", "asyncio", "asyncpg", "yaml"}),
    ],
)
def test_importing_stays_cheap(statement, unwanted):
    code = f"{statement}; import sys; print(*({unwanted!r} & set(sys.modules)))"

    done = subprocess.run(
        [sys.executable, "-S", "-I", "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r}); {code}"],
        capture_output=True,
        text=True,
        check=True,
    )

    assert done.stdout.strip() == ""
