"""The broker is killed, emptied, or takes nothing for a while; on a node of this module's own."""

import asyncio
import json
import os
import re
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.support.chaos import ACTORS, DEADLINE_S, ActorProcess, Stage
from tests.support.chaos_work import Work, make_work, mixed, soon, writes
from tests.support.services import SESSION_PIDS, Estate
from tests.support.services_rabbit import RabbitNode

LEASE = "4s"
LONGEST_MS = 1500
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


@dataclass(frozen=True, slots=True)
class Alarm:
    """What makes the broker refuse to read from publishers, and how it says so."""

    command: str
    raising: str
    clearing: str
    sign: str


ALARMS = {
    "memory": Alarm("set_vm_memory_high_watermark", "0.00001", "0.4", "mem_alarm"),
    "disk": Alarm("set_disk_free_limit", "900000GB", "50MB", "disk_free_alarm"),
}


@asynccontextmanager
async def in_alarm(node: RabbitNode, alarm: Alarm) -> AsyncIterator[None]:
    await asyncio.to_thread(node.ctl, alarm.command, alarm.raising)
    try:
        async with asyncio.timeout(DEADLINE_S):
            while not node.management.call("GET", "nodes")[0].get(alarm.sign):
                await asyncio.sleep(0.1)
        yield
    finally:
        await asyncio.to_thread(node.ctl, alarm.command, alarm.clearing)


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


async def broker_trouble(actor: ActorProcess, wanted: str | None) -> None:
    """Wait until the readiness of ``actor`` says this of the broker."""
    deadline = time.monotonic() + DEADLINE_S
    while (troubles := await actor.troubles()).get("broker") != wanted:
        assert time.monotonic() < deadline, f"{troubles}: {actor.tail()}"
        await asyncio.sleep(0.1)


@pytest.mark.parametrize("kind", ALARMS)
async def test_broker_that_takes_nothing_for_longer_than_a_lease(
    stage: Stage, node: RabbitNode, kind: str, tmp_path: Path
) -> None:
    """Publishers wait and say so; an attempt that runs keeps its lease; then all goes on."""
    gate = tmp_path / "gate"
    begins = soon(0.3)
    job = {"run": writes(stage.ledger, f"until={gate}"), "triggers": [{"at": begins.isoformat()}]}
    held = make_work(f"held-{kind}", {"held": job}, {"held": [begins]})
    await stage.apply(held)
    await stage.told(bool, held)
    work = await under_way(stage, f"alarm-{kind}")

    async with in_alarm(node, ALARMS[kind]):
        began = await stage.until("SELECT now()")
        for publisher in ("recorder", "executor", "ticker"):
            await broker_trouble(stage.only(publisher), "the link to the broker is blocked")
        waiting = mixed(f"waiting-{kind}", stage.ledger, soon(0.3))
        await stage.apply(waiting)
        # The alarm outlasts every lease that was held when it began, by the clock that judges leases.
        await stage.until(f"SELECT now() > $1::timestamptz + interval '{LEASE}' + interval '1 second'", began)
        assert [] == stage.entries(waiting)
    gate.touch()

    for each in (work, held, waiting):
        await stage.settled(each)
        await stage.check(each)
    for kept in ACTORS:
        await broker_trouble(stage.only(kept), None)


async def test_round_trip_through_the_broker_is_shown_and_one_that_does_not_end_is_a_trouble(
    stage: Stage, node: RabbitNode
) -> None:
    for kind in ACTORS:
        await broker_trouble(stage.only(kind), None)
        timing = await shown(partial(timing_of, stage.only(kind)))
        assert 0 < float(timing.removeprefix("broker;dur=")) < LONGEST_MS
        gauge = await shown(partial(gauge_of, stage.only(kind)))
        assert 0 < float(gauge) * 1000 < LONGEST_MS
    counts = json.loads(stage.command("health", "--detailed", "--json"))["counts"]
    assert 0 < counts["broker_round_trip_ms"] < LONGEST_MS

    os.kill(node.pids[-1], signal.SIGSTOP)
    try:
        await broker_trouble(stage.only("ticker"), "nothing came back through it within 1.5 s")
        assert "scheduler_round_trip_seconds{" not in await metrics(stage.only("ticker"))
    finally:
        os.kill(node.pids[-1], signal.SIGCONT)
    for kind in ACTORS:
        await broker_trouble(stage.only(kind), None)


async def shown(measure: Callable[[], Awaitable[str | None]]) -> str:
    """Return the first round trip that came back in time: one may take too long on a machine that stands still."""
    async with asyncio.timeout(DEADLINE_S):
        while (found := await measure()) is None:
            await asyncio.sleep(0.1)
    return found


async def timing_of(actor: ActorProcess) -> str | None:
    return (await actor.probe("readyz")).headers.get("Server-Timing")


async def gauge_of(actor: ActorProcess) -> str | None:
    found = re.findall(r'scheduler_round_trip_seconds{part="broker"} (.+)', await metrics(actor))
    return found[0] if found else None


async def metrics(actor: ActorProcess) -> str:
    return await (await actor.probe("metrics")).text()
