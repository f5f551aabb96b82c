"""Every message comes three times: at once, and once more when what it asked for is long done."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aio_pika
import pytest

from tests.support.chaos import Stage
from tests.support.chaos_work import make_work, mixed, soon, writes

LEASE = "12s"
SAID = {
    "scheduler.firings": ("firing.due",),
    "scheduler.offers": ("default",),
    "scheduler.attempts": ("attempt.claim", "attempt.finished", "attempt.returned"),
    "scheduler.settled": ("run.settled",),
}
pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]


class Echo:
    """Publishes each message of the four exchanges once more as it comes, and all of them again when asked to."""

    def __init__(self, channel: aio_pika.abc.AbstractChannel) -> None:
        self._channel = channel
        self.heard: list[tuple[aio_pika.abc.AbstractExchange, aio_pika.abc.AbstractIncomingMessage]] = []

    async def listen(self) -> None:
        for exchange, keys in SAID.items():
            source = await self._channel.get_exchange(exchange)
            queue = await self._channel.declare_queue(exclusive=True)
            for key in keys:
                await queue.bind(source, key)
            await queue.consume(self._repeater(source), no_ack=True)

    async def say_all_again(self) -> None:
        for exchange, message in list(self.heard):
            await self._say(exchange, message)

    def _repeater(self, exchange: aio_pika.abc.AbstractExchange):
        async def repeat(message: aio_pika.abc.AbstractIncomingMessage) -> None:
            if "x-echo" not in message.headers:
                self.heard.append((exchange, message))
                await self._say(exchange, message)

        return repeat

    @staticmethod
    async def _say(exchange: aio_pika.abc.AbstractExchange, message: aio_pika.abc.AbstractIncomingMessage) -> None:
        copy = aio_pika.Message(message.body, headers={"x-echo": True}, delivery_mode=message.delivery_mode)
        await exchange.publish(copy, message.routing_key or "")


@asynccontextmanager
async def echo(stage: Stage) -> AsyncIterator[Echo]:
    async with await aio_pika.connect(stage.amqp_url) as connection:
        made = Echo(await connection.channel())
        await made.listen()
        yield made


async def test_messages_that_come_again_and_again_change_nothing(stage: Stage) -> None:
    stage.start("executor")
    work = mixed("echo", stage.ledger, soon(0.5))

    async with echo(stage) as echoing:
        await stage.apply(work)
        await stage.settled(work)
        await echoing.say_all_again()
        again = make_work(
            "after", {"after": {"run": writes(stage.ledger), "triggers": [{"at": soon(0.3).isoformat()}]}}
        )
        await stage.apply(again)
        await stage.told(lambda entries: len(entries) == 2, again)

    await stage.settled(work)
    await stage.check(work)
    asked_for = {"firing.due", "default", "attempt.claim", "attempt.finished", "run.settled"}
    assert asked_for <= {message.routing_key for _, message in echoing.heard}


async def test_offers_that_come_again_while_they_run_start_nothing(stage: Stage, tmp_path) -> None:
    gate = tmp_path / "gate"
    begins = soon(0.5)
    job = {"run": writes(stage.ledger, f"until={gate}"), "triggers": [{"at": begins.isoformat()}]}
    work = make_work("again", {"held": job}, {"held": [begins]})

    async with echo(stage) as echoing:
        await stage.apply(work)
        await stage.told(bool, work)
        claims = len([1 for _, message in echoing.heard if message.routing_key == "attempt.claim"])
        await echoing.say_all_again()
        async with asyncio.timeout(10):
            while len([1 for _, message in echoing.heard if message.routing_key == "attempt.claim"]) == claims:
                await asyncio.sleep(0.02)
        gate.touch()
        await stage.settled(work)

    await stage.check(work)
