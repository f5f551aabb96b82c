"""Python children that serve several runs: who may share one, and what must not pass from run to run."""

import asyncio
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from scheduler.ports import StopRequest
from scheduler.sandbox.warm import Recycling
from schemas.vocabulary import Outcome
from schemas.work import ResourceLimits, SecretRef, TimeLimits
from tests.support.attempts import a_place, an_attempt, is_gone, pid_in, python, seen

ROOT = Path(__file__).resolve().parents[2]
MIB = 1024**2
JOBS = """
import asyncio, atexit, os, resource, signal, subprocess, sys, threading, time
held = []
def pid(): return os.getpid()
def facts():
    print("said by", os.environ["SCHEDULER_RUN_ID"])
    return {"pid": os.getpid(), "run": os.environ["SCHEDULER_RUN_ID"], "cwd": os.getcwd(), "files": os.listdir(".")}
def leaves_a_file():
    open("left", "w").close()
    os.umask(0)
    os.chdir("/")
    sys.path.insert(0, "/nowhere")
    return os.getpid()
def measures(ctx, value=None):
    if value is not None: ctx.metric("rows", value)
    return os.getpid()
def rests(ctx): ctx.snooze(5, str(os.getpid()))
async def waits(): await asyncio.sleep(0); return os.getpid()
def meets(count):
    open(f"../../../met-{os.getpid()}", "w").close()
    while sum(name.startswith("met-") for name in os.listdir("../../..")) < count: time.sleep(0.01)
    return os.getpid()
def sleeps(): open("../../../begun", "w").close(); time.sleep(30)
def stays(path): open(path, "w").write(f"{os.getpid()}\\n"); time.sleep(30)
def burns(seconds, mib):
    kept = bytearray(b"x" * mib * 1024 * 1024)
    began = time.process_time()
    while time.process_time() - began < seconds: pass
def grows(mib): held.append(bytearray(b"x" * mib * 1024 * 1024)); return os.getpid()
def raises(): raise LookupError(os.getpid())
def exits(): print(os.getpid()); sys.exit(3)
def crashes(): print(os.getpid(), flush=True); os.kill(os.getpid(), signal.SIGSEGV)
def leaves_a_thread(): threading.Thread(target=time.sleep, args=(30,), daemon=True).start(); return os.getpid()
def leaves_a_child(): subprocess.Popen(["sleep", "30"]); return os.getpid()
def leaves_a_zombie(): held.append(subprocess.Popen(["true"])); return os.getpid()
def leaves_a_daemon():
    subprocess.run(["sh", "-c", "setsid sleep 30 >/dev/null 2>&1 &"]); return os.getpid()
def leaves_a_variable(): os.environ["LEFT"] = "1"; return os.getpid()
def leaves_an_open_file(): held.append(open("/dev/null")); return os.getpid()
def leaves_a_signal_handler(): signal.signal(signal.SIGUSR1, print); return os.getpid()
def leaves_a_timer(): signal.setitimer(signal.ITIMER_REAL, 20); return os.getpid()
def leaves_a_limit(): resource.setrlimit(resource.RLIMIT_NOFILE, (100, 100)); return os.getpid()
def leaves_a_call_at_exit(): atexit.register(print, "called at the exit", flush=True); return os.getpid()
def leaves_a_stream(): sys.stdout = open("/dev/null", "w"); return os.getpid()
"""


@pytest.fixture
async def place(tmp_path):
    async with a_place(tmp_path) as opened:
        (opened.code_dir / "jobs.py").write_text(JOBS)
        yield opened


async def pid_of(place, name="jobs:pid", **fields):
    ended = await place.run(python(name, **fields))
    assert ended.outcome is Outcome.SUCCEEDED
    return ended.result


async def test_a_second_run_has_the_same_process_and_everything_of_its_own(place):
    first = await place.run(python("jobs:facts"))
    second = await place.run(python("jobs:facts"))

    assert second.result["pid"] == first.result["pid"]
    assert second.result["run"] != first.result["run"]
    assert second.result["cwd"] != first.result["cwd"]
    assert second.output.head == f"said by {second.result['run']}\n"
    assert list(place.run_dir.glob("runner-*/*-*")) == []


async def test_what_can_be_set_again_is_set_again(place):
    pid = await pid_of(place, "jobs:leaves_a_file")
    ended = await place.run(python("jobs:facts"))

    assert (ended.result["pid"], ended.result["files"]) == (pid, [])
    assert await pid_of(place, "jobs:waits") == pid


async def test_metrics_and_snoozes_are_those_of_their_run(place):
    with_metric = await place.run(python("jobs:measures", params={"value": 3}))
    without = await place.run(python("jobs:measures"))
    snoozed = await place.run(python("jobs:rests"))

    assert (with_metric.metrics, without.metrics) == ({"rows": 3.0}, None)
    assert (snoozed.outcome, snoozed.retry_after_s) == (Outcome.SNOOZED, 5)
    assert {with_metric.result, without.result, int(snoozed.reason)} == {await pid_of(place)}


async def test_usage_is_that_of_the_run(place):
    heavy = await place.run(python("jobs:burns", params={"seconds": 0.3, "mib": 128}))
    light = await place.run(python("jobs:burns", params={"seconds": 0, "mib": 1}))

    assert heavy.usage.cpu_s >= 0.3
    assert heavy.usage.peak_memory_bytes > 128 * MIB
    assert light.usage.cpu_s < 0.2
    assert light.usage.peak_memory_bytes < 100 * MIB


async def test_runs_at_once_have_a_process_each(place):
    together = await asyncio.gather(*(pid_of(place, "jobs:meets", params={"count": 3}) for _ in range(3)))

    assert len(set(together)) == 3
    assert await pid_of(place) in together


async def test_a_process_belongs_to_one_version_of_a_job_of_one_tenant(place):
    order = python("jobs:pid")
    others = [order.model_copy(update={"job": "other"}), order.model_copy(update={"job_version": 2})]
    attempts = [replace(an_attempt(), tenant=name) for name in ("default", "other", "default")]

    pids = [(await place.runner.run(order, attempt, StopRequest())).result for attempt in attempts]
    pids += [(await place.run(other)).result for other in others]

    assert pids[0] == pids[2]
    assert len(set(pids)) == 4


async def test_another_environment_or_limit_is_another_process(place, monkeypatch):
    monkeypatch.setenv("PROBE_SECRET", "one")
    secrets = {"secrets": {"TOKEN": SecretRef(env="PROBE_SECRET")}}
    pids = [await pid_of(place), await pid_of(place, env={"A": "1"}), await pid_of(place, **secrets)]
    pids.append(await pid_of(place, resources=ResourceLimits(pids=50)))
    again = await pid_of(place, **secrets)
    monkeypatch.setenv("PROBE_SECRET", "two")
    pids.append(await pid_of(place, **secrets))

    assert again == pids[2]
    assert len(set(pids)) == 5


@pytest.mark.parametrize(
    "function",
    [
        "leaves_a_thread", "leaves_a_child", "leaves_a_zombie", "leaves_a_daemon", "leaves_a_variable",
        "leaves_an_open_file", "leaves_a_signal_handler", "leaves_a_timer", "leaves_a_limit",
        "leaves_a_call_at_exit", "leaves_a_stream",
    ],
)  # fmt: skip
async def test_a_process_in_which_something_is_left_serves_no_other_run(place, function):
    await place.run(python("jobs:pid"))
    pid = await pid_of(place, f"jobs:{function}")

    await is_gone(pid)
    assert await pid_of(place) != pid


async def test_calls_at_exit_are_made_at_the_end_of_their_run(place):
    await place.run(python("jobs:pid"))

    ended = await place.run(python("jobs:leaves_a_call_at_exit"))

    assert ended.output.head == "called at the exit\n"


@pytest.mark.parametrize("function", ["raises", "exits", "crashes"])
async def test_a_run_that_fails_ends_its_process(place, function):
    before = await pid_of(place)

    ended = await place.run(python(f"jobs:{function}"))

    assert ended.outcome is Outcome.FAILED
    assert str(before) in f"{ended.reason} {ended.output.head}"
    await is_gone(before)


async def test_a_process_ends_after_its_runs(tmp_path):
    async with a_place(tmp_path, recycling=Recycling(most_runs=3)) as place:
        (place.code_dir / "jobs.py").write_text(JOBS)
        pids = [await pid_of(place) for _ in range(7)]
        of_a_job = [await pid_of(place, max_runs_per_process=2) for _ in range(4)]
        alone = [await pid_of(place, max_runs_per_process=1) for _ in range(2)]

    assert [pids.count(pid) for pid in dict.fromkeys(pids)] == [3, 3, 1]
    assert [of_a_job.count(pid) for pid in dict.fromkeys(of_a_job)] in ([2, 2], [1, 2, 1])
    assert len(set(alone)) == 2


async def test_a_process_that_has_grown_too_large_ends(tmp_path):
    async with a_place(tmp_path, recycling=Recycling(most_bytes=100 * MIB)) as place:
        (place.code_dir / "jobs.py").write_text(JOBS)
        small = await pid_of(place, "jobs:grows", params={"mib": 1})
        large = await pid_of(place, "jobs:grows", params={"mib": 128})

        assert small == large
        await is_gone(large)


async def test_idle_processes_end_soon_and_by_themselves(tmp_path):
    module = "import atexit, os, pathlib\ndef pid(path):\n    return os.getpid()\n"
    module += "atexit.register(lambda: pathlib.Path(__file__).with_name('ended').touch())\n"
    async with a_place(tmp_path, recycling=Recycling(idle_s=0.05)) as place:
        (place.code_dir / "polite.py").write_text(module)
        pid = await pid_of(place, "polite:pid", params={"path": "x"})

        await is_gone(pid)
        await seen(place.code_dir / "ended")


async def test_no_more_processes_wait_than_may(tmp_path):
    async with a_place(tmp_path, recycling=Recycling(most_idle=1)) as place:
        (place.code_dir / "jobs.py").write_text(JOBS)
        first = await pid_of(place, env={"A": "1"})
        second = await pid_of(place, env={"A": "2"})

        await is_gone(first)
        assert await pid_of(place, env={"A": "2"}) == second
    await is_gone(second)


async def test_changed_code_is_loaded_anew(place):
    before = await place.run(python("jobs:pid"))
    (place.code_dir / "jobs.py").write_text("def pid(): return 'new'\n")

    after = await place.run(python("jobs:pid"))

    assert (type(before.result), after.result) == (int, "new")


async def test_a_process_killed_while_it_waits_costs_no_run(place):
    pid = await pid_of(place)
    os.kill(pid, signal.SIGKILL)

    assert await pid_of(place) != pid


async def test_a_later_run_is_timed_asked_and_killed_as_the_first(place):
    for limits, outcome in (
        (TimeLimits(hard_s=0.5), Outcome.TIMED_OUT),
        (TimeLimits(soft_s=0.2, grace_s=10, hard_s=20), Outcome.TIMED_OUT),
    ):
        pid = await pid_of(place)
        ended = await place.run(python("jobs:sleeps", limits=limits))
        assert ended.outcome is outcome
        await is_gone(pid)


async def test_a_later_run_can_be_cancelled(place, tmp_path):
    pid = await pid_of(place)
    stop = StopRequest()
    running = asyncio.ensure_future(place.run(python("jobs:sleeps"), stop))
    await seen(tmp_path / "begun")

    stop.request("cancelled")
    ended = await running

    assert (ended.outcome, ended.exit_code) == (Outcome.CANCELLED, 128 + signal.SIGTERM)
    await is_gone(pid)


async def test_a_later_run_is_held_to_its_limits(place):
    limits = ResourceLimits(memory_bytes=96 * MIB)
    first = await place.run(python("jobs:grows", params={"mib": 8}, resources=limits))

    ended = await place.run(python("jobs:burns", params={"mib": 512, "seconds": 20}, resources=limits))

    assert (ended.outcome, ended.usage.limited_by) == (Outcome.OUT_OF_LIMITS, first.usage.limited_by)
    await is_gone(first.result)


async def test_processes_that_wait_die_with_an_executor_that_is_killed(tmp_path):
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "jobs.py").write_text(JOBS)
    program = (
        "import asyncio, sys\nfrom pathlib import Path\nsys.path.insert(0, sys.argv[1])\n"
        "from tests.support.attempts import a_place, python\n"
        "async def main():\n"
        "    async with a_place(Path(sys.argv[2])) as place:\n"
        "        ended = await place.run(python('jobs:pid'))\n"
        "        (Path(sys.argv[2]) / 'pid').write_text(f'{ended.result}\\n')\n"
        "        await asyncio.sleep(60)\n"
        "asyncio.run(main())\n"
    )
    executor = await asyncio.create_subprocess_exec(sys.executable, "-c", program, str(ROOT), str(tmp_path), cwd="/")
    pid = await pid_in(tmp_path / "pid")

    executor.kill()

    await executor.wait()
    await is_gone(pid)
