"""The scheduler for users' own tests: real policies, virtual time, functions that really run."""

import asyncio
import sys
import types
from datetime import UTC, datetime, timedelta

import pytest

from scheduler import Need, Retry, TestScheduler, Timeout, cron, every, job
from scheduler.errors import ConflictError, DefinitionsError, NotFoundError
from scheduler.voice import Told

DAY = "2026-03-01T00:00:00Z"
heard: list[object] = []


@pytest.fixture(autouse=True)
def _silence():
    heard.clear()


@job(cron("0 2 * * *"), params={"day": "{{ run.fired_at }}", "n": 1})
def first(day, n):
    heard.append((day, n))
    return {"n": n}


@job(needs=[first])
async def second(ctx):
    await asyncio.sleep(0)
    ctx.log("adding")
    return ctx.results["first"]["n"] + 1


@job(needs=[Need(job=second, when="failed")])
def alarm():
    heard.append("alarm")


@job(every("10m"))
def often():
    heard.append("often")


@job(retry=Retry(attempts=3, initial="1m", jitter=0.0, on=[ConnectionError]))
def flaky(ctx, error="ConnectionError"):
    heard.append(ctx.attempt)
    if ctx.attempt < 3:
        raise {"ConnectionError": ConnectionResetError, "ValueError": ValueError}[error]("no")  # one of its subclasses
    return "at last"


@job(overlap="queue_one", timeout=Timeout(hard="1h"), secrets={"TOKEN": {"env": "NOT_SET_ANYWHERE"}})
def long(ctx):
    heard.append(ctx.secrets["TOKEN"])


def test_what_is_due_runs_with_everything_after_it():
    scheduler = TestScheduler(first, second, alarm, now=DAY)

    assert scheduler.advance(hours=1) == []
    made = scheduler.advance("1h")

    assert [(run.job, run.state) for run in made] == [
        ("first", "succeeded"),
        ("second", "succeeded"),
        ("alarm", "skipped"),
    ]
    assert heard == [("2026-03-01T02:00:00+00:00", 1)]
    assert made[1].result == 2
    assert made[1].attempts[0].output == ("adding",)
    assert made[2].reason == "upstream second succeeded"
    assert scheduler.now == datetime(2026, 3, 1, 2, tzinfo=UTC)
    assert [(row.job, row.verdict) for row in scheduler.firings] == [("first", "started")]


async def test_async_jobs_run_inside_an_async_test_too():
    scheduler = TestScheduler(first, second)

    scheduler.trigger("first", {"n": 41})

    assert scheduler.last("second").result == 42


def test_retries_come_when_their_backoff_is_over():
    scheduler = TestScheduler(flaky, now=DAY)

    run = scheduler.trigger("flaky")
    assert (run.state, heard) == ("backing_off", [1])
    scheduler.advance(seconds=59)
    assert heard == [1]
    scheduler.advance(seconds=1)
    assert heard == [1, 2]
    scheduler.advance(minutes=2)

    assert (run.state, run.result, heard) == ("succeeded", "at last", [1, 2, 3])
    assert isinstance(run.attempts[1].error, ConnectionError)
    assert [attempt.outcome for attempt in run.attempts] == ["failed", "failed", "succeeded"]


def test_what_is_not_to_be_retried_is_not():
    run = TestScheduler(flaky).trigger("flaky", {"error": "ValueError"})

    assert (run.state, heard) == ("failed", [1])
    assert "ValueError" in run.reason
    assert isinstance(run.error, ValueError)
    assert "failed" in repr(run)


def test_an_outage_leaves_what_catch_up_says():
    scheduler = TestScheduler(often, now=DAY)
    scheduler.advance(minutes=10)

    made = scheduler.outage(hours=1)

    assert [run.fired_at for run in made] == [datetime(2026, 3, 1, 1, 10, tzinfo=UTC)]
    assert [row.verdict for row in scheduler.firings] == ["started", "merged", "started"]
    assert heard == ["often"] * 2


def test_overlap_is_seen_when_runs_take_time():
    scheduler = TestScheduler(long, takes={"long": timedelta(minutes=30)}, secrets={"TOKEN": "x", "OTHER": "y"})

    one, two = scheduler.trigger("long"), scheduler.trigger("long")
    assert (one.state, one.result, two.state) == ("running", None, "waiting")
    with pytest.raises(ConflictError, match=r"skipped_overlap.*waits for its turn already"):
        scheduler.trigger("long")
    scheduler.advance(minutes=30)

    assert (one.state, two.state, heard) == ("succeeded", "running", ["x", "x"])
    assert two.attempts[0].started_at == one.ended_at


def test_what_takes_longer_than_its_limit_is_timed_out():
    scheduler = TestScheduler(long, takes={"long": "2h"})

    run = scheduler.trigger("long")
    scheduler.advance(hours=1)

    assert (run.state, run.attempts[0].outcome, heard) == ("failed", "timed_out", [])


def test_definitions_files_with_stand_ins(tmp_path):
    file = tmp_path / "jobs.yaml"
    file.write_text(
        "jobs:\n"
        "  dump: {run: {command: [pg_dump]}, triggers: [{at: '2026-03-01T05:00:00Z', params: {to: x}}]}\n"
        "  check: {run: {command: [check, '{{ results.dump.rows }}']}, needs: [dump]}\n"
        "  broken: {run: {command: ['true']}, params: {a: '{{ results.dump.nothing }}'}, needs: [dump]}\n"
    )
    scheduler = TestScheduler(file, now=DAY, stand_ins={"dump": lambda params: {"rows": 3, **params}})

    scheduler.advance_to("2026-03-01T05:00:00Z")

    assert scheduler.last("dump").result == {"rows": 3, "to": "x"}
    assert scheduler.last("check").state == "succeeded"
    assert scheduler.last("broken").state == "failed"
    assert "nothing" in str(scheduler.last("broken").error)


def test_a_module_is_taken_with_what_stands_beside_its_jobs(tmp_path):
    module = types.ModuleType("virtual_module")
    sys.modules["virtual_module"] = module
    exec(
        "from scheduler import cron, file_keys, job\n"
        "head = file_keys(defaults={'timezone': 'Asia/Tokyo'})\n"
        "@job(cron('0 2 * * *'))\ndef tokyo(): return object()\n",
        vars(module),
    )
    del sys.modules["virtual_module"]

    (run,) = TestScheduler(module, now=DAY).advance(days=1)

    assert run.fired_at == datetime(2026, 3, 1, 17, tzinfo=UTC)
    assert (run.state, run.result) == ("succeeded", None)
    assert "not JSON" in str(run.error)


def test_mistakes_are_told():
    scheduler = TestScheduler(first, second, now=DAY)

    with pytest.raises(NotFoundError, match="no job nothing"):
        scheduler.trigger("nothing")
    with pytest.raises(NotFoundError, match="has no run"):
        scheduler.last("first")
    with pytest.raises(NotFoundError):
        TestScheduler(first, takes={"frist": "1m"})
    with pytest.raises(ValueError, match="already"):
        scheduler.advance_to("2026-02-01T00:00:00Z")
    with pytest.raises(ValueError, match="offset"):
        TestScheduler(first, now="2026-03-01 00:00")
    with pytest.raises(ValueError, match="back"):
        scheduler.advance(hours=-1)
    with pytest.raises(DefinitionsError, match="there is no job first"):
        TestScheduler(second)


@job()
def early(ctx):
    if ctx.attempt < 3:
        ctx.snooze(90, "no file yet")
    return ctx.attempt


def test_a_function_that_snoozes_comes_again_at_no_cost_of_attempts():
    scheduler = TestScheduler(early, now=DAY)

    run = scheduler.trigger("early")
    scheduler.advance("5m")

    assert (run.state, run.result) == ("succeeded", 3)
    assert [attempt.outcome for attempt in run.attempts] == ["snoozed", "snoozed", "succeeded"]
    assert [attempt.started_at - run.attempts[0].started_at for attempt in run.attempts] == [
        timedelta(),
        timedelta(seconds=90),
        timedelta(seconds=180),
    ]


def test_progress_is_kept_with_the_attempt(tmp_path):
    def copy(ctx):
        ctx.progress(1, 2, "half")
        ctx.progress(2, 2)

    file = tmp_path / "jobs.yaml"
    file.write_text("version: 1\njobs: {copy: {run: {command: [cp]}, triggers: [{every: 1m}]}}\n")

    (run,) = TestScheduler(file, stand_ins={"copy": copy}).advance("1m")

    assert run.attempts[0].progress == (Told(1, 2, "half"), Told(2, 2))
