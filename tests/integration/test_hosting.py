"""A process's work: begun until the world is there, ready when it says so, drained on the first wish."""

import asyncio
import json
import random
import urllib.error
import urllib.request
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

import pytest
import structlog

from scheduler.clock import SystemClock
from scheduler.config import Settings
from scheduler.errors import ConfigurationError, DatabaseUnavailableError
from scheduler.hosting import Host, ProbeAddress, Work
from scheduler.metrics import Metrics
from scheduler.wiring import World, open_link
from tests.support.services import free_port


@dataclass
class Worker:
    """A service that keeps a diary."""

    diary: list[str] = field(default_factory=list)
    trouble: dict[str, str] = field(default_factory=dict)
    started: asyncio.Event = field(default_factory=asyncio.Event)

    async def start(self) -> None:
        self.diary.append("start")
        self.started.set()

    async def drain(self) -> None:
        self.diary.append("drain")

    async def stop(self) -> None:
        self.diary.append("stop")

    def troubles(self) -> dict[str, str]:
        return self.trouble


def host(prepare) -> Host:
    return Host("test", prepare, Metrics("test"), SystemClock(), random.Random(1))


async def fetch(port: int, path: str, authorization: str | None = None) -> tuple[int, str]:
    headers = {} if authorization is None else {"Authorization": authorization}
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers=headers)

    def get() -> tuple[int, str]:
        try:
            with urllib.request.urlopen(request, timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    return await asyncio.to_thread(get)


async def test_metrics_beyond_loopback_are_for_who_has_the_token() -> None:
    async def prepare(_stack: AsyncExitStack) -> Work:
        return Work(worker, {})

    worker, stopping, port, token = Worker(), asyncio.Event(), free_port(), "t" * 32
    with structlog.testing.capture_logs():
        running = asyncio.create_task(host(prepare).run(stopping, ProbeAddress("0.0.0.0", port, False, token)))
        await asyncio.wait_for(worker.started.wait(), 10)
        open_to_all = [(await fetch(port, path))[0] for path in ("/livez", "/healthz")]
        refused = [
            (await fetch(port, "/metrics", given))[0]
            for given in (None, f"Bearer {token}t", f"Bearer {token[1:]}é", token, "Bearer ")
        ]
        status, text = await fetch(port, "/metrics", f"Bearer {token}")
        stopping.set()
        await running
        with pytest.raises(ConfigurationError, match="probe_token"):
            await host(prepare).run(stopping, ProbeAddress("0.0.0.0", port, or_any=False))

    assert (open_to_all, refused, status) == ([200] * 2, [401] * 5, 200)
    assert "scheduler_ready" in text


async def test_a_world_that_is_away_is_waited_for_and_readiness_tells_the_parts() -> None:
    worker, stopping, port, closed = Worker(), asyncio.Event(), free_port(), []
    tried, may_begin, broker = asyncio.Event(), asyncio.Event(), ["is down"]

    async def check() -> str | None:
        return broker[0]

    async def prepare(stack: AsyncExitStack) -> Work:
        stack.callback(closed.append, "closed")
        if not may_begin.is_set():
            tried.set()
            raise DatabaseUnavailableError("no database yet")
        return Work(worker, {"broker": check})

    with structlog.testing.capture_logs():
        running = asyncio.create_task(host(prepare).run(stopping, ProbeAddress("127.0.0.1", port, or_any=False)))
        await asyncio.wait_for(tried.wait(), 5)
        away = await fetch(port, "/readyz")
        alive = await fetch(port, "/livez")
        may_begin.set()
        await asyncio.wait_for(worker.started.wait(), 10)
        worker.trouble["tick"] = "is stuck"
        troubled = await fetch(port, "/readyz")
        broker[0] = None  # type: ignore[call-overload]
        worker.trouble.clear()
        ready = await fetch(port, "/readyz")
        metrics = await fetch(port, "/metrics")
        stopping.set()
        await asyncio.wait_for(running, 5)

    assert away == (503, '[{"part": "test", "trouble": "no database yet"}]')
    assert alive[0] == 200
    assert (troubled[0], [part["part"] for part in json.loads(troubled[1])]) == (503, ["broker", "tick"])
    assert ready == (200, "[]")
    assert "scheduler_ready 1.0" in metrics[1]
    assert worker.diary == ["start", "drain", "stop"]
    assert set(closed) == {"closed"}


async def test_broker_that_cannot_be_reached_is_named_with_the_reason_while_it_is_waited_for() -> None:
    stopping, port, nowhere = asyncio.Event(), free_port(), free_port()
    settings = Settings.model_validate({"amqp_url": f"amqp://127.0.0.1:{nowhere}/"})
    world = World(settings, SystemClock(), random.Random(1))

    async def prepare(stack: AsyncExitStack) -> Work:
        await open_link(world, stack, actor="executor")
        raise AssertionError("there is no broker")

    waiting = Host("executor", prepare, Metrics("executor"), world.clock, world.rng, world.waits)
    running = asyncio.create_task(waiting.run(stopping, ProbeAddress("127.0.0.1", port, or_any=False)))
    said = ""
    async with asyncio.timeout(8):  # before anybody gives up waiting
        while "Connect call failed" not in said:
            assert not running.done()
            await asyncio.sleep(0.05)
            _, said = await fetch(port, "/readyz")
    stopping.set()
    await running

    (part,) = json.loads(said)
    assert part["part"] == "executor"
    assert part["trouble"].startswith(f"broker amqp://127.0.0.1:{nowhere}/ is not reachable: ")


async def test_what_waiting_would_not_help_ends_it_at_once() -> None:
    async def prepare(_stack: AsyncExitStack) -> Work:
        raise ConfigurationError("no handlers")

    with structlog.testing.capture_logs(), pytest.raises(ConfigurationError, match="no handlers"):
        await host(prepare).run(asyncio.Event(), ProbeAddress("127.0.0.1", 0, or_any=False))


async def test_a_wish_to_end_is_heard_while_something_is_slow_to_open() -> None:
    stopping, opening = asyncio.Event(), asyncio.Event()
    cancelled: list[bool] = []

    async def prepare(_stack: AsyncExitStack) -> Work:
        opening.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(True)
            raise
        return Work(Worker(), {})

    with structlog.testing.capture_logs():
        running = asyncio.create_task(host(prepare).run(stopping, ProbeAddress("127.0.0.1", 0, or_any=False)))
        await asyncio.wait_for(opening.wait(), 5)
        stopping.set()
        await asyncio.wait_for(running, 5)

    assert cancelled == [True]


async def test_a_port_that_is_taken_is_refused_when_asked_for_and_replaced_when_not() -> None:
    worker, stopping, port = Worker(), asyncio.Event(), free_port()
    server = await asyncio.start_server(lambda _reader, _writer: None, "127.0.0.1", port)

    async def prepare(_stack: AsyncExitStack) -> Work:
        return Work(worker, {})

    with structlog.testing.capture_logs() as lines:
        with pytest.raises(ConfigurationError, match=f"127.0.0.1:{port}: "):
            await host(prepare).run(stopping, ProbeAddress("127.0.0.1", port, or_any=False))
        running = asyncio.create_task(host(prepare).run(stopping, ProbeAddress("127.0.0.1", port, or_any=True)))
        await asyncio.wait_for(worker.started.wait(), 5)
        stopping.set()
        await asyncio.wait_for(running, 5)
    server.close()
    await server.wait_closed()

    other = next(line["port"] for line in lines if line["event"] == "probe.listening")
    assert other not in {0, port}
