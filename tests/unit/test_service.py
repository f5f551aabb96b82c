import asyncio
import random
from datetime import UTC, datetime

import pytest

from scheduler.clock import VirtualClock
from scheduler.errors import DatabaseUnavailableError
from scheduler.service import Service


@pytest.mark.parametrize("instead", [DatabaseUnavailableError("gone"), ValueError("odd"), None])
async def test_a_loop_that_answers_a_cancel_with_something_else_ends_all_the_same(instead: Exception | None) -> None:
    """As where what is left of a transaction cannot be rolled back: else the stop would wait for ever."""
    service = Service("odd", VirtualClock(datetime(2026, 3, 1, tzinfo=UTC)), random.Random(1))
    begun = 0

    async def body() -> None:
        nonlocal begun
        begun += 1
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            if instead is not None:
                raise instead from None

    service.keep("loop", body)
    await asyncio.sleep(0)
    async with asyncio.timeout(1):
        await service.stop()

    assert begun == 1
