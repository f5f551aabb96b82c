"""Handlers in the executor's process: how they are called and how they end."""

import asyncio
import os

import pytest

from scheduler.handlers import handler
from scheduler.ports import InlineStart, StopRequest
from schemas.vocabulary import Outcome
from schemas.work import SecretRef, TimeLimits
from tests.support.attempts import a_place, an_attempt, calling
from tests.support.handlers import ALL, entered, release

SHORT = TimeLimits(hard_s=0.3, grace_s=0.1)
FILE = """
from scheduler.handlers import handler
@handler("pid")
def pid(ctx, params):
    import os
    ctx.log("in a child")
    return [os.getpid(), ctx.job, params]
@handler("waits_there")
async def waits_there(ctx, params):
    import asyncio
    await asyncio.sleep(60)
"""


@pytest.fixture
async def place(tmp_path):
    release.clear()
    entered.clear()
    async with a_place(tmp_path, *ALL) as opened:
        yield opened
        release.set()


async def test_a_handler_knows_its_run_and_returns_a_result(place, monkeypatch):
    monkeypatch.setenv("PROBE_SECRET", "s3cret")
    order = calling("echo", params={"a": 1}, results={"up": 2}, secrets={"KEY": SecretRef(env="PROBE_SECRET")})

    ended = await place.run(order)

    assert ended.outcome is Outcome.SUCCEEDED
    assert ended.result == {"params": {"a": 1}, "results": {"up": 2}, "secrets": {"KEY": "***"}}  # masked: it was there
    assert ended.output.head == "probe 1\n"


async def test_an_unknown_handler_is_a_failure(place):
    assert (await place.run(calling("nobody"))).reason == "this executor has no handler nobody"


@pytest.mark.parametrize("name", ["raises", "sync_raises"])
@pytest.mark.parametrize(
    ("what", "exception", "reason"),
    [
        ("value", "ValueError", "ValueError: bad value"),
        ("exit", "SystemExit", "SystemExit: 3"),
        ("interrupt", "KeyboardInterrupt", "KeyboardInterrupt"),
        ("cancelled", "CancelledError", "CancelledError"),
        ("odd", "OddError", "OddError: (its text cannot be shown)"),
    ],
)
async def test_whatever_a_handler_raises_is_its_failure(place, name, what, exception, reason):
    ended = await place.run(calling(name, params={"what": what}))

    assert (ended.outcome, ended.exception, ended.reason) == (Outcome.FAILED, exception, reason)
    assert ended.exception_bases[-1] == "BaseException"
    assert exception in ended.output.head
    assert "scheduler/sandbox" not in ended.output.head


async def test_a_recursion_error_has_a_short_traceback(place):
    ended = await place.run(calling("raises", params={"what": "recursion"}))

    assert ended.exception == "RecursionError"
    assert ended.output.total_bytes < 8 * 1024


async def test_a_result_that_is_not_json_is_dropped_and_told(place):
    ended = await place.run(calling("returns"))

    assert (ended.outcome, ended.result) == (Outcome.SUCCEEDED, None)
    assert ended.reason.startswith("result dropped: it is not JSON")


async def test_a_handlers_log_is_bounded_and_storable(place):
    output = (await place.run(calling("prints"))).output

    assert output.total_bytes > 20_000_000
    assert len(output.head) + len(output.tail) == 64 * 1024
    assert output.head.startswith("? \ufffd x")


async def test_where_handlers_run(place):
    names = [
        (await place.run(order)).result
        for order in (
            calling("async_thread_name"),
            calling("thread_name"),
            calling("thread_name", isolation="inline"),
            calling("async_thread_name", isolation="thread"),
        )
    ]

    assert [name.partition("-")[0] for name in names] == ["handlers", "handler", "handlers", "handler"]


async def test_a_handler_in_a_process_of_its_own(tmp_path):
    async with a_place(tmp_path) as place:
        (place.code_dir / "own_process_1.py").write_text(FILE)
        place.runner._registry.load(["own_process_1"])

        ended = await place.run(calling("pid", params={"a": 1}, isolation="process"))
        killed = await place.run(calling("waits_there", isolation="process", limits=SHORT))

    assert ended.result[0] != os.getpid()
    assert ended.result[1:] == ["probe", {"a": 1}]
    assert ended.output.head == "in a child\n"
    assert (killed.outcome, killed.signal) == (Outcome.TIMED_OUT, 9)


async def test_many_inline_starts_end_once_each_in_batches(place):
    batches = []
    starts = [InlineStart(calling("noop"), an_attempt(), StopRequest()) for _ in range(500)]
    all_done = asyncio.Event()

    def on_done(batch):
        batches.append(batch)
        if sum(map(len, batches)) == len(starts):
            all_done.set()

    place.runner.start_inline(starts, on_done)
    async with asyncio.timeout(5):
        await all_done.wait()

    done = [start.context.run_id for batch in batches for start, _ in batch]
    assert sorted(done) == sorted(start.context.run_id for start in starts)
    assert len(batches) < 50


async def test_a_thousand_async_handlers_run_at_once(tmp_path):
    together = asyncio.Barrier(1000)

    @handler("meets")
    async def meets(_ctx, _params):
        await together.wait()  # nobody goes on before the last one has come

    async with a_place(tmp_path, meets) as place:
        ends = await place.run_inline(*(calling("meets") for _ in range(1000)))

    assert {ended.outcome for ended in ends} == {Outcome.SUCCEEDED}


async def test_what_is_not_inline_is_refused_whole(place):
    secret = {"KEY": SecretRef(env="X")}
    orders = [
        calling("thread_name"),
        calling("noop", secrets=secret),
        calling("noop", isolation="process"),
        calling("x"),
    ]

    assert [place.runner.is_inline(order) for order in orders] == [False] * 4
    assert place.runner.is_inline(calling("noop"))
    with pytest.raises(ValueError, match="cannot be run inline"):
        await place.run_inline(calling("noop"), orders[0])
