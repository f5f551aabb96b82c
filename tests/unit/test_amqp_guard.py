"""A question to the broker ends in one of three ways: an answer, a lost session, or the wish to stop of who asks."""

import asyncio
from collections.abc import Awaitable, Callable

import aiormq
import pytest

from scheduler.errors import SessionLostError
from scheduler.transport.amqp_wire import guarded

Question = Callable[[], Awaitable[str]]


async def answers_a_cancellation_with_an_error() -> str:
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        raise aiormq.ChannelClosed(None, None) from None
    return "never"


async def answers_a_cancellation_with_a_result() -> str:
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        return "just come"
    return "never"


async def never_answers() -> str:
    await asyncio.Event().wait()
    return "never"


async def is_cancelled_by_nobody() -> str:
    future = asyncio.get_running_loop().create_future()
    future.cancel()
    await future
    return "never"


@pytest.mark.parametrize(
    "question", [answers_a_cancellation_with_an_error, answers_a_cancellation_with_a_result, never_answers]
)
async def test_wish_to_stop_is_heard_whatever_the_library_makes_of_it(question: Question) -> None:
    asking = asyncio.create_task(guarded(question()))
    await asyncio.sleep(0)

    asking.cancel()
    await asyncio.wait([asking])

    assert asking.cancelled()


async def test_cancellation_that_nobody_asked_for_is_a_lost_session() -> None:
    with pytest.raises(SessionLostError, match="stuck"):
        await guarded(is_cancelled_by_nobody())


async def test_silence_is_a_lost_session() -> None:
    with pytest.raises(SessionLostError, match=r"no answer from the broker in 0\.001 s"):
        await guarded(never_answers(), 0.001)


async def test_a_task_that_is_ending_already_still_hears_why_the_session_was_lost() -> None:
    heard: list[str] = []

    async def ends() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            try:
                await guarded(is_cancelled_by_nobody())
            except SessionLostError as error:
                heard.append(str(error))

    ending = asyncio.create_task(ends())
    await asyncio.sleep(0)
    ending.cancel()
    await asyncio.wait([ending])

    assert ending.cancelled()
    assert ["the connection was stuck"] == heard
