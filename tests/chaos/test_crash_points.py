"""Ticker, Dispatcher or Recorder kills itself at a crash point, is started again, and nothing is lost or doubled.

None of these costs an attempt: the lease is longer than the outage.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.support.chaos import Stage
from tests.support.chaos_work import mixed, soon
from tests.support.services_rabbit import Management

LEASE = "12s"
POINTS = {
    "ticker.before_commit": "ticker",
    "ticker.after_commit": "ticker",
    "ticker.after_confirm": "ticker",
    "publisher.after_write@firing.due": "ticker",
    "dispatcher.before_commit": "dispatcher",
    "dispatcher.after_commit": "dispatcher",
    "dispatcher.before_offer": "dispatcher",
    "publisher.after_write@default": "dispatcher",
    "dispatcher.after_offer": "dispatcher",
    "dispatcher.before_step_commit": "dispatcher",
    "dispatcher.after_step_commit": "dispatcher",
    "recorder.before_claims": "recorder",
    "recorder.after_claims": "recorder",
    "recorder.before_commit": "recorder",
    "recorder.after_commit": "recorder",
    "actor.after_ack@scheduler.dispatcher.firings": "dispatcher",
    "actor.after_ack@scheduler.dispatcher.settled": "dispatcher",
    "actor.after_ack@scheduler.recorder.claims": "recorder",
    "actor.after_ack@scheduler.recorder.finished": "recorder",
}
pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]


@pytest.mark.parametrize("point", POINTS)
async def test_nothing_is_lost_or_doubled_by_a_crash_at(point: str, stage: Stage) -> None:
    work = await stage.crash(POINTS[point], point)

    await stage.check(work)


@contextmanager
def refusing(management: Management, stage: Stage) -> Iterator[None]:
    """Let the broker refuse every offer meanwhile."""
    path = f"policies/{stage.vhost}/full"
    definition = {"max-length": 0, "overflow": "reject-publish"}
    queue = r"^scheduler\.executor\."
    management.call("PUT", path, {"pattern": queue, "definition": definition, "priority": 100, "apply-to": "queues"})
    yield
    management.call("DELETE", path)


async def test_offers_that_the_broker_refuses_are_made_again(rabbit, stage: Stage) -> None:
    dispatcher = stage.only("dispatcher")
    work = mixed("refused", stage.ledger, soon(0.3))

    with refusing(rabbit.management, stage):
        await stage.apply(work)
        await stage.until("SELECT max(intent) > 2 FROM scheduler.runs WHERE tenant = $1", work.tenant)

    await stage.settled(work)
    await stage.check(work)
    assert dispatcher.says("offers.withdrawn")


async def test_crash_between_a_refusal_and_the_withdrawal(rabbit, stage: Stage) -> None:
    await stage.only("dispatcher").drain()
    victim = stage.start("dispatcher", crash_at="dispatcher.before_withdrawal")
    work = mixed("withdrawal", stage.ledger, soon())

    with refusing(rabbit.management, stage):
        await stage.apply(work)
        await victim.dies()
    stage.start("dispatcher")

    await stage.settled(work)
    await stage.check(work)
