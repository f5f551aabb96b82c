"""Programs that start jobs and look at them: the async client and the sync one, on a private database."""

import asyncio
import random
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest

from scheduler import Client, SyncClient
from scheduler.clock import SystemClock
from scheduler.config import Settings
from scheduler.definitions.load import load
from scheduler.embedded_scheduler import EmbeddedScheduler
from scheduler.errors import CallerError, ConflictError, DatabaseUnavailableError, NotFoundError
from scheduler.transport.memory_broker import MemoryBroker
from scheduler.wiring import Code, World

JOBS = """
import asyncio
from scheduler import job

@job(isolation="inline", overlap="allow")
async def double(ctx, number=1):
    ctx.log(f"doubling {number}")
    ctx.metric("number", number)
    return 2 * number

@job(isolation="inline")
async def fails(ctx):
    ctx.metric("halfway", 0.5)
    raise ValueError("no good")

@job(isolation="inline")
async def hangs():
    await asyncio.sleep(60)

@job(isolation="inline", enabled=False)
async def off(): ...
"""

pytestmark = pytest.mark.slow


@pytest.fixture
async def state(tmp_path: Path) -> AsyncIterator[Path]:
    """The data directory of a scheduler that runs the jobs."""
    file = tmp_path / "client_jobs.py"
    file.write_text(JOBS)
    world = World(
        Settings(data_dir=tmp_path / "state"), SystemClock(), random.Random(1), Code(tmp_path, (str(file),)),
        MemoryBroker(),
    )  # fmt: skip
    async with asyncio.timeout(60), EmbeddedScheduler(world) as scheduler:
        await scheduler.apply(load([file]))
        yield tmp_path / "state"


async def test_what_programs_do(state: Path) -> None:
    async with Client(data_dir=state) as client:
        await starts_and_waits(client)
        await starts_many_and_waits_for_as_long_as_it_likes(client)
        await cancels_many(client)
        await retries_what_failed(client)
        await is_told_what_is_wrong(client)
        await pauses(client)
    with pytest.raises(RuntimeError, match="not open"):
        await client.runs()
    await asyncio.to_thread(does_the_same_without_a_loop, state)


async def starts_and_waits(client: Client) -> None:
    fired = await client.trigger("double", {"number": 21}, wait=True, timeout=20)
    run = await client.run(fired.run_id)

    assert (fired.job, fired.state, fired.result, fired.over, fired.succeeded) == (
        "double",
        "succeeded",
        42,
        True,
        True,
    )
    assert [(attempt.outcome, attempt.metrics) for attempt in run.attempts] == [("succeeded", {"number": 21})]
    assert run.params == {"number": 21}
    assert [log.head for log in await client.logs(str(run.id))] == ["doubling 21\n"]


async def starts_many_and_waits_for_as_long_as_it_likes(client: Client) -> None:
    double, hangs, fails = await client.trigger_all(["double", "hangs", "fails"])
    double, fails = await client.wait([double, fails], timeout=20)
    (hangs,) = await client.wait([hangs], timeout=timedelta(milliseconds=100))

    assert [one.over for one in (double, hangs, fails)] == [True, False, True]
    assert (double.result, fails.state, hangs.succeeded) == (2, "failed", False)
    assert "ValueError" in fails.reason
    assert not await client.cancel(hangs.run_id, reason="enough")
    (ended,) = await client.wait([hangs], timeout="20s")
    assert (ended.state, ended.over) == ("cancelled", True)
    with pytest.raises(ConflictError):
        await client.cancel(hangs.run_id)


async def cancels_many(client: Client) -> None:
    hangs = await client.trigger("hangs")
    while not await client.runs("hangs", state="running"):
        await asyncio.sleep(0)

    assert await client.cancel_all("double") == 0
    assert await client.cancel_all("hangs", state=["ready", "running"], reason="enough") == 1
    (ended,) = await client.wait([hangs], timeout="20s")
    assert (ended.state, (await client.run(ended.run_id)).reason) == ("cancelled", "enough")
    assert await client.cancel_all(flow=(await client.run(ended.run_id)).flow_id) == 0
    with pytest.raises(CallerError, match="time zone"):
        await client.cancel_all(since=datetime(2026, 1, 1))  # noqa: DTZ001 - what is refused


async def retries_what_failed(client: Client) -> None:
    (failed,) = await client.runs("fails", state="failed", since=datetime.now(UTC) - timedelta(hours=1))

    again = await client.retry(failed.id, wait=True, timeout=20)

    assert (await client.run(again.run_id)).retry_of == failed.id
    assert (await client.run(failed.id)).attempts[0].metrics == {"halfway": 0.5}
    assert [run.id for run in await client.runs("fails", limit=1)] == [again.run_id]
    assert [run.id for run in await client.runs("fails", after=again.run_id)] == [failed.id]


async def is_told_what_is_wrong(client: Client) -> None:
    with pytest.raises(NotFoundError, match="no job nothing"):
        await client.trigger_all(["double", "nothing"])
    with pytest.raises(ConflictError, match="disabled"):
        await client.trigger("off")
    for unknown in (uuid4(), "no id"):
        with pytest.raises(NotFoundError):
            await client.run(unknown)
    for params in ({"a": float("nan")}, {"a": object()}, {"a": "\0"}, {"a": "\ud800"}):
        with pytest.raises(CallerError, match="params"):
            await client.trigger("double", params)
    with pytest.raises(CallerError, match="is no duration"):
        await client.trigger("double", wait=True, timeout="soon")
    with pytest.raises(CallerError, match="backing_off"):
        await client.runs(state="dead")
    with pytest.raises(CallerError, match="time zone"):
        await client.runs(since=datetime(2026, 1, 1))  # noqa: DTZ001 - what is refused


async def pauses(client: Client) -> None:
    assert await client.pause("double", note="for now")
    assert not await client.pause("double")
    assert await client.resume("double")
    assert not await client.resume("double")


def does_the_same_without_a_loop(state: Path) -> None:
    with SyncClient(data_dir=state) as client:
        fired, *_ = client.trigger_all(["double"], {"number": 4}, wait=True, timeout=20)
        assert client.trigger("double", wait=True, timeout="20s").result == 2
        assert client.wait([fired])[0].result == 8
        assert client.run(fired.run_id).state == "succeeded"
        assert client.logs(fired.run_id)[0].head == "doubling 4\n"
        assert client.runs("double", limit=1)[0].job == "double"
        (failed, *_) = client.runs("fails", state="failed", limit=1)
        assert client.retry(failed.id, {"n": 1}, wait=True, timeout=20).state == "failed"
        assert client.runs("fails", limit=1)[0].params == {"n": 1}
        assert client.cancel_all("fails") == 0
        assert client.pause("hangs")
        assert client.resume("hangs")
        with pytest.raises(ConflictError):
            client.cancel(fired.run_id)
    with pytest.raises(RuntimeError, match="not open"):
        client.runs()


async def test_nothing_to_talk_to(tmp_path: Path) -> None:
    with pytest.raises(DatabaseUnavailableError, match="nothing runs on"):
        await Client(data_dir=tmp_path).__aenter__()
    with pytest.raises(DatabaseUnavailableError, match="nothing runs on"):
        SyncClient(data_dir=tmp_path).__enter__()
