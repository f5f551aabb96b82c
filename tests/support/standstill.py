"""How long the machine let nobody run, for tests of who waits for whom."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def longest_standstill() -> Iterator[list[float]]:
    """Yield a list of how long a thread that only sleeps a hundredth of a second each time came too late."""
    late, over = [0.0], threading.Event()

    def sleep() -> None:
        before = time.monotonic()
        while not over.wait(0.01):
            late.append(time.monotonic() - before - 0.01)
            before = time.monotonic()

    thread = threading.Thread(target=sleep)
    thread.start()
    try:
        yield late
    finally:
        over.set()
        thread.join()
