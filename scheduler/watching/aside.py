"""Blocking work beside the loop, in threads that nobody has to wait for: a dead network file system never answers."""

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def start_aside(work: Callable[[], T]) -> "asyncio.Future[T]":
    """Run ``work`` in a thread of its own; the end of the process does not wait for it."""
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[T] = loop.create_future()

    def tell(result: T | None, error: BaseException | None) -> None:
        if answer.cancelled():
            return
        if error is not None:
            answer.set_exception(error)
            answer.exception()  # who asked may be gone: then nobody is to be told
        else:
            answer.set_result(result)  # type: ignore[arg-type]

    def run() -> None:
        result, failure = None, None
        try:
            result = work()
        except BaseException as error:  # noqa: BLE001 - it is raised where the answer is awaited
            failure = error
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody asks any more
            loop.call_soon_threadsafe(tell, result, failure)

    threading.Thread(target=run, name="watch", daemon=True).start()
    return answer
