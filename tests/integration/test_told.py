"""What runs say while they run: progress, and output for who follows."""

import asyncio
import random
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from scheduler.clock import SystemClock
from scheduler.config import Settings
from scheduler.definitions.load import load
from scheduler.embedded_scheduler import EmbeddedScheduler
from scheduler.store.control import trigger_jobs
from scheduler.store.following import AttemptOver, Missed, RunOver, Went, Word, Wrote, follow
from scheduler.store.reading import RunFilter, get_run, list_runs, list_verdicts
from scheduler.store.stores import Store
from scheduler.store.telling import forget_told
from scheduler.transport.memory_broker import MemoryBroker
from scheduler.voice import Told
from scheduler.wiring import Code, World

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]

# Each job goes on when the test makes the file that it waits for.
JOBS = """
version: 1
jobs:
  inline: {run: {handler: slow}}
  thread: {run: {handler: slow-sync}}
  child: {run: {handler: slow-sync}, isolation: process}
  python: {run: {python: "work_told:count"}}
  command:
    run:
      script: {text: 'echo "1/4 begun" >"$SCHEDULER_PROGRESS"; echo first
        line; until [ -e go ]; do sleep 0.02; done; echo "4/4 done" >>"$SCHEDULER_PROGRESS"; echo last line'}
    cwd: .
  secret:
    run:
      script: {text: 'printf "key=%.6s" "$KEY"; until [ -e go ]; do sleep 0.02; done; printf "%s.\\n" "${KEY#??????}"'}
    cwd: .
    secrets: {KEY: {file: secret.txt}}
  again:
    run: {script: {text: 'echo "try $SCHEDULER_ATTEMPT"; until [ -e go ]; do sleep 0.02; done; exit 3'}}
    cwd: .
    retry: {attempts: 2, initial: 10ms}
  flood:
    run: {script: {text: 'seq 1 200000; until [ -e go ]; do sleep 0.02; done; echo end'}}
    cwd: .
  quick: {run: {command: [echo, hello]}}
"""
HANDLERS = """
import asyncio, os, time
from scheduler.handlers import handler

@handler("slow")
async def slow(ctx, params):
    ctx.progress(1, 4, "begun")
    ctx.log("first line")
    while not os.path.exists(GO):
        await asyncio.sleep(0.02)
    ctx.progress(4, 4, "done")
    ctx.log("last line")

@handler("slow-sync")
def slow_sync(ctx, params):
    ctx.progress(1, 4, "begun")
    ctx.log("first line")
    while not os.path.exists(GO):
        time.sleep(0.02)
    ctx.progress(4, 4, "done")
    ctx.log("last line")

def count(ctx):
    slow_sync(ctx, {})
"""
SECRET = "correct-horse-battery"


class Running:
    """A scheduler with its jobs, and what was heard of one run so far."""

    def __init__(self, store: Store, folder: Path) -> None:
        self.store = store
        self.clock = SystemClock()
        self.folder = folder
        self.heard: list[Word] = []

    async def fire(self, job: str) -> uuid.UUID:
        (asked,) = await trigger_jobs(self.store, "default", [job], params=None, clock=self.clock)
        async with asyncio.timeout(20):
            while True:
                verdict = (await list_verdicts(self.store, [asked.firing_id])).get(asked.firing_id, {})
                if isinstance(run_id := verdict.get("run_id"), uuid.UUID):
                    return run_id
                await self.clock.sleep(0.02)

    def go(self) -> None:
        (self.folder / "go").touch()

    @property
    def text(self) -> str:
        return "".join(word.text for word in self.heard if isinstance(word, Wrote))

    async def follow(self, run_id: uuid.UUID) -> None:
        async for word in follow(self.store, "default", run_id, self.clock):
            self.heard.append(word)

    async def until(self, holds: Any) -> None:
        async with asyncio.timeout(20):
            while not holds():
                await self.clock.sleep(0.02)

    async def comes(self, query: str, run_id: uuid.UUID, wanted: object) -> None:
        """Wait until ``query`` about a run gives ``wanted``: some of what is told is stored after its end."""
        found: object = None
        try:
            async with asyncio.timeout(20), self.store.connection() as db:
                while (found := await db.fetchval(query, run_id)) != wanted:
                    await self.clock.sleep(0.02)
        except TimeoutError:
            raise AssertionError(f"{query} stayed {found!r}") from None


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def opened(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Running]:
    folder = tmp_path_factory.mktemp("told")
    (folder / "jobs.yaml").write_text(JOBS.replace("secret.txt", str(folder / "secret.txt")))
    (folder / "work_told.py").write_text(HANDLERS.replace("GO", repr(str(folder / "go"))))
    (folder / "secret.txt").write_text(SECRET)
    world = World(
        Settings(data_dir=folder / "state"),
        SystemClock(),
        random.Random(1),
        Code(folder, ("work_told",)),
        MemoryBroker(),
    )
    async with EmbeddedScheduler(world) as scheduler:
        await scheduler.apply(load([folder / "jobs.yaml"]))
        running = Running(scheduler.stores.main, folder)
        await asyncio.wait_for(running.follow(await running.fire("quick")), 20)  # what starts children is there now
        yield running


@pytest_asyncio.fixture(loop_scope="module")
async def running(opened: Running) -> Running:
    (opened.folder / "go").unlink(missing_ok=True)
    opened.heard = []
    return opened


@pytest.mark.parametrize("job", ["inline", "thread", "child", "python", "command"])
async def test_a_follower_hears_while_it_runs_and_the_last_progress_stays(running: Running, job: str) -> None:
    run_id = await running.fire(job)
    following = asyncio.create_task(running.follow(run_id))
    await running.until(lambda: "first line\n" in running.text and Went(1, Told(1, 4, "begun")) in running.heard)
    shown = await get_run(running.store, "default", run_id)
    listed = await list_runs(running.store, "default", RunFilter(job=job))
    running.go()
    await asyncio.wait_for(following, 20)

    begun = {"done": 1, "total": 4, "message": "begun"}
    assert (shown["state"], shown["progress"], listed[0]["progress"]) == ("running", begun, begun)
    assert running.text == "first line\nlast line\n"
    assert running.heard[-2:] == [AttemptOver(1, "succeeded", None), RunOver(job, "succeeded", None)]
    done = {"done": 4, "total": 4, "message": "done"}
    await running.comes("SELECT progress FROM attempts WHERE run_id = $1", run_id, done)
    assert (await get_run(running.store, "default", run_id))["attempts"][0]["progress"] == done


async def test_a_secret_written_in_two_halves_is_never_told(running: Running) -> None:
    run_id = await running.fire("secret")
    following = asyncio.create_task(running.follow(run_id))
    await running.until(lambda: "key=" in running.text)
    running.go()
    await asyncio.wait_for(following, 20)

    assert running.text == "key=***.\n"
    told = "SELECT string_agg(text, '' ORDER BY starts_at) FROM live_output WHERE run_id = $1"
    await running.comes(told, run_id, "key=***.\n")


async def test_it_goes_on_with_the_next_attempt(running: Running) -> None:
    run_id = await running.fire("again")
    following = asyncio.create_task(running.follow(run_id))
    await running.until(lambda: "try 1" in running.text)
    running.go()
    await asyncio.wait_for(following, 20)

    assert running.text == "try 1\ntry 2\n"
    assert [word for word in running.heard if isinstance(word, AttemptOver | RunOver)] == [
        AttemptOver(1, "failed", "exit code 3"),
        AttemptOver(2, "failed", "exit code 3"),
        RunOver("again", "failed", "exit code 3; attempt 2 of 2"),
    ]


async def test_what_is_written_faster_than_told_shows_as_a_gap(running: Running) -> None:
    run_id = await running.fire("flood")
    following = asyncio.create_task(running.follow(run_id))
    await running.until(lambda: running.text.endswith("200000\n"))
    running.go()
    await asyncio.wait_for(following, 20)

    missed = sum(word.size for word in running.heard if isinstance(word, Missed))
    assert missed > 0
    assert len(running.text) + missed == len("".join(f"{number}\n" for number in range(1, 200_001))) + len("end\n")
    assert running.text.endswith("\n200000\nend\n")


async def test_two_followers_hear_the_same(running: Running) -> None:
    run_id = await running.fire("command")
    first = asyncio.create_task(running.follow(run_id))
    await running.until(lambda: "first line" in running.text)
    late = Running(running.store, running.folder)
    second = asyncio.create_task(late.follow(run_id))
    await running.until(lambda: late.text)
    running.go()
    await asyncio.wait_for(asyncio.gather(first, second), 20)

    assert late.text == running.text == "first line\nlast line\n"


async def test_a_run_that_is_over_is_shown_from_what_is_stored(running: Running) -> None:
    run_id = await running.fire("quick")
    await asyncio.wait_for(running.follow(run_id), 20)

    again = [word async for word in follow(running.store, "default", run_id, running.clock)]

    assert again == [Wrote(1, "hello\n"), AttemptOver(1, "succeeded", None), RunOver("quick", "succeeded", None)]


async def test_nothing_is_told_of_output_that_nobody_follows(running: Running) -> None:
    run_id = await running.fire("command")
    async with asyncio.timeout(20):
        while (await get_run(running.store, "default", run_id))["progress"] is None:
            await running.clock.sleep(0.05)
    async with running.store.connection() as db:
        pieces = await db.fetchval("SELECT count(*) FROM live_output WHERE run_id = $1", run_id)
    running.go()
    await asyncio.wait_for(running.follow(run_id), 20)
    await forget_told(running.store)
    async with running.store.connection() as db:
        left = await db.fetchval("SELECT count(*) FROM live_progress WHERE run_id = $1", run_id)

    assert (pieces, left) == (0, 0)
