"""Handlers that behave well and badly, for tests of what runs them."""

import asyncio
import threading

from scheduler.handlers import handler

release = threading.Event()
"""Set at the end of a test: what blocks goes on."""
entered = threading.Event()


class OddError(BaseException):
    def __str__(self) -> str:
        raise RuntimeError("cannot be shown")


RAISES = {
    "value": lambda: ValueError("bad\nvalue \x00"),
    "exit": lambda: SystemExit(3),
    "interrupt": KeyboardInterrupt,
    "cancelled": asyncio.CancelledError,
    "odd": OddError,
}


@handler("echo")
async def echo(ctx, params):
    ctx.log(f"{ctx.job} {ctx.attempt}")
    return {"params": params, "results": dict(ctx.results), "secrets": dict(ctx.secrets)}


@handler("noop")
async def noop(ctx, params):
    return None


@handler("raises")
async def raises(ctx, params):
    if params["what"] == "recursion":
        return await raises(ctx, params)
    error = RAISES[params["what"]]
    raise error()


@handler("sync_raises")
def sync_raises(ctx, params):
    error = RAISES[params["what"]]
    raise error()


@handler("thread_name")
def thread_name(ctx, params):
    return threading.current_thread().name


@handler("async_thread_name")
async def async_thread_name(ctx, params):
    return threading.current_thread().name


@handler("waits")
async def waits(ctx, params):
    try:
        await asyncio.sleep(60)
    finally:
        ctx.log("cleaned up")


@handler("stubborn")
async def stubborn(ctx, params):
    while not release.is_set():
        try:
            await asyncio.sleep(0.05)
        except asyncio.CancelledError:
            ctx.log("no")


@handler("blocks")
async def blocks(ctx, params):
    entered.set()
    release.wait(20)


@handler("sync_blocks")
def sync_blocks(ctx, params):
    release.wait(20)


@handler("sync_looks")
def sync_looks(ctx, params):
    while not ctx.stop_requested:
        release.wait(0.01)
    return "stopped in order"


@handler("prints")
async def prints(ctx, params):
    for _ in range(2000):
        ctx.log("\ud800 \x00 " + "x" * 10_000)


@handler("returns")
async def returns(ctx, params):
    return object()


ALL = [value for value in list(globals().values()) if hasattr(value, "__scheduler_handlers__")]
