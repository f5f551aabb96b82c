"""Calls the function of a job for a test, in this thread where that is possible."""

import asyncio
import contextvars
import inspect
import threading
from collections.abc import Awaitable, Callable
from typing import Any

from scheduler.code.calling import arguments_for
from scheduler.sandbox.handlers import HandlerContext


def call(function: Callable[..., Any], params: dict[str, Any], context: HandlerContext) -> Any:
    """Return what the function returns; an async one is run to its end. Raises what it raises."""
    value = function(**arguments_for(function, params, context))
    return _finished(value) if inspect.isawaitable(value) else value


def _finished(value: Awaitable[Any]) -> Any:
    async def whole() -> Any:
        return await value

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(whole())
    return _in_a_thread(lambda: asyncio.run(whole()))


def _in_a_thread(work: Callable[[], Any]) -> Any:
    """Do it where no loop runs: the test is itself a coroutine."""
    ended: list[Callable[[], Any]] = []

    def answer() -> None:
        try:
            value = work()
        except BaseException as error:  # noqa: BLE001 - raised again in the caller's thread
            raised = error

            def again() -> Any:
                raise raised

            ended.append(again)
        else:
            ended.append(lambda: value)

    thread = threading.Thread(target=contextvars.copy_context().run, args=(answer,))
    thread.start()
    thread.join()
    return ended[0]()
