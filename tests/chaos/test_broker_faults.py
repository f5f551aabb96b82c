"""The broker is killed, emptied, or takes nothing for a while; on a node of this module's own."""

import asyncio
from collections.abc import Iterator
from urllib.parse import quote

import pytest

from tests.support.chaos import Stage
from tests.support.chaos_work import Work, mixed, soon
from tests.support.services import SESSION_PIDS, Estate
from tests.support.services_rabbit import RabbitNode

LEASE = "4s"
pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]


@pytest.fixture(scope="module")
def node(estate: Estate) -> Iterator[RabbitNode]:
    made = RabbitNode(estate, "chaos-rabbit")
    made.start()
    SESSION_PIDS.update(made.pids)
    made.wait_ready()
    yield made
    made.close()


@pytest.fixture(scope="module")
def module_vhost(node: RabbitNode) -> str:
    return node.amqp_url


async def under_way(stage: Stage, name: str) -> Work:
    """Apply work for some seconds and return when a part of it has run."""
    work = mixed(name, stage.ledger, soon(0.3), pulses=8)
    await stage.apply(work)
    await stage.told(lambda entries: len(entries) > 8, work)
    return work


async def in_alarm(node: RabbitNode) -> None:
    async with asyncio.timeout(30):
        while not node.management.call("GET", "nodes")[0]["mem_alarm"]:
            await asyncio.sleep(0.1)


async def test_broker_that_is_killed_under_load(stage: Stage, node: RabbitNode) -> None:
    work = await under_way(stage, "killed")

    node.kill9()
    node.start()
    SESSION_PIDS.update(node.pids)
    await asyncio.to_thread(node.wait_ready)

    await stage.settled(work)
    await stage.check(work, losses=True)


@pytest.mark.parametrize("remedy", ["declare", "rebuild"])
async def test_broker_that_is_emptied_under_load(stage: Stage, node: RabbitNode, remedy: str) -> None:
    work = await under_way(stage, f"emptied-{remedy}")

    for queue in node.management.call("GET", "queues/%2F"):
        if not queue["exclusive"]:
            node.management.call("DELETE", f"queues/%2F/{quote(queue['name'], safe='')}")
    stage.command("broker", remedy)

    await stage.settled(work)
    await stage.check(work, losses=True)


async def test_broker_that_takes_nothing_for_longer_than_a_lease(stage: Stage, node: RabbitNode) -> None:
    work = await under_way(stage, "alarm")

    await asyncio.to_thread(node.ctl, "set_vm_memory_high_watermark", "0.00001")
    await in_alarm(node)
    began = await stage.until("SELECT now()")
    # The alarm outlasts every lease that was held when it began, by the clock that judges leases.
    await stage.until(f"SELECT now() > $1::timestamptz + interval '{LEASE}' + interval '1 second'", began)
    before = len(stage.entries(work))
    await asyncio.to_thread(node.ctl, "set_vm_memory_high_watermark", "0.4")

    await stage.settled(work)
    await stage.check(work)
    assert before < len(stage.entries(work))
