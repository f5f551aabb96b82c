"""A message that ends its reader each time is buried in the end, alone, and by nobody's help but the next reader's."""

import asyncio
import json
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import aio_pika
import pytest

from actors.suspects import CRASHES
from schemas.commands import ClaimAttempt, StartAttempt
from schemas.facts import FiringDue
from schemas.message import Message
from schemas.registry import dump, parse
from tests.support.chaos import DEADLINE_S, Stage
from tests.support.chaos_work import mixed, soon

LEASE = "30s"
GOLDEN = Path(__file__).parents[1] / "contract" / "golden"
KILLER, POINT = "killer", "actor.reading@killer"
pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]


@pytest.fixture(scope="module", params=["classic", "quorum"])
def queue_type(request: pytest.FixtureRequest) -> str:
    return request.param


@dataclass(frozen=True, slots=True)
class Killer:
    """Where a message of tenant ``killer`` is published to end ``kind``, with messages of others around it."""

    kind: str
    exchange: str
    key: str
    messages: Sequence[Message]

    @property
    def deaths(self) -> int:
        """First with others in hand, then alone, and of a list each element alone after that."""
        return 1 + CRASHES + (len(self.messages) > 1)

    async def publish(self, channel: aio_pika.abc.AbstractChannel) -> None:
        exchange = await channel.get_exchange(self.exchange)
        await exchange.publish(aio_pika.Message(dump(self.messages), delivery_mode=2), self.key)


def firing(tenant: str) -> FiringDue:
    return FiringDue(tenant=tenant, firing_id=uuid.uuid4())


def claim(tenant: str) -> ClaimAttempt:
    ids = {name: uuid.uuid4() for name in ("run_id", "lease_token", "claim_id", "boot_id")}
    return ClaimAttempt(tenant=tenant, attempt=1, executor="nobody", **ids)


def offer(tenant: str) -> StartAttempt:
    told = json.loads((GOLDEN / "attempt.start.v1.json").read_text())
    message = parse(told)
    assert isinstance(message, StartAttempt)
    return message.model_copy(update={"tenant": tenant, "run_id": uuid.uuid4()})


KILLERS = (
    Killer("dispatcher", "scheduler.firings", "firing.due", [firing("bystander"), firing(KILLER), firing("bystander")]),
    Killer("recorder", "scheduler.attempts", "attempt.claim", [claim(KILLER)]),
    Killer("executor", "scheduler.offers", "default", [offer("bystander"), offer(KILLER)]),
)


async def dies_until_buried(stage: Stage, kind: str) -> int:
    """Start the actor, again after each of its deaths, until it lives on; return how often it died."""
    deaths = 0
    async with asyncio.timeout(DEADLINE_S):
        while True:
            actor = stage.start(kind, crash_at=POINT)
            while actor.alive and not actor.says("message.buried"):
                await asyncio.sleep(0.02)
            if actor.alive:
                return deaths
            await actor.dies()
            deaths += 1


async def take(channel: aio_pika.abc.AbstractChannel, queue: str, count: int) -> list[aio_pika.abc.AbstractMessage]:
    """Return ``count`` messages of a queue and all that is there besides."""
    source = await channel.get_queue(queue)
    taken: list[aio_pika.abc.AbstractMessage] = []
    async with asyncio.timeout(DEADLINE_S):
        while (message := await source.get(fail=False, no_ack=True)) is not None or len(taken) < count:
            if message is not None:
                taken.append(message)
    return taken


async def test_killers_are_buried_alone_after_a_bounded_number_of_crashes(stage: Stage, queue_type: str) -> None:
    for killer in KILLERS:
        await stage.only(killer.kind).drain()
    work = mixed(f"innocent-{queue_type}", stage.ledger, soon(0.2), pulses=4)
    await stage.apply(work)
    await stage.until("SELECT count(*) > 7 FROM scheduler.firings WHERE tenant = $1", work.tenant)
    async with await aio_pika.connect(stage.amqp_url) as connection:
        channel = await connection.channel()
        for killer in KILLERS:
            await killer.publish(channel)

        deaths = await asyncio.gather(*(dies_until_buried(stage, killer.kind) for killer in KILLERS))

        await stage.settled(work)
        await stage.check(work)
        assert {killer.kind: killer.deaths for killer in KILLERS} == {
            killer.kind: died for killer, died in zip(KILLERS, deaths, strict=True)
        }
        letters = await take(channel, "scheduler.dead-letters", len(KILLERS))
    assert [KILLER] * len(KILLERS) == [json.loads(letter.body)["tenant"] for letter in letters]
    assert {f"its reader ended {CRASHES} times while it had nothing but this message in hand"} == {
        letter.headers["x-reason"] for letter in letters
    }
    notes = "SELECT count(*) FROM scheduler.messages_in_hand"
    assert 0 == await stage.until(notes, holds=lambda left: left == 0)
