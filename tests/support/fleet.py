"""Many executors in one process: real ones, on a broker in memory, whose attempts take a time and do nothing."""

import asyncio
import random
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from actors.dispatcher import Dispatcher, DispatchSettings
from actors.executing.settings import ExecutorSettings
from actors.executor import Executor
from actors.recorder import Recorder, RecordSettings
from scheduler.ports import Ended, InlineDone, InlineStart
from scheduler.transport.memory import MemoryTransport
from scheduler.transport.topology import topology
from schemas.vocabulary import Outcome
from tests.support.engine import Engine
from tests.support.executing import PlayedSandbox

LEASE_S = 30.0
Span = tuple[float, float]


class TimedSandbox(PlayedSandbox):
    """Its attempts end well after some seconds, drawn between the two of ``takes``."""

    def __init__(self, takes: Span, rng: random.Random) -> None:
        super().__init__()
        self._takes = takes
        self._rng = rng

    def start_inline(self, starts: Sequence[InlineStart], on_done: InlineDone) -> None:
        loop = asyncio.get_running_loop()
        for start in starts:
            self._note(start.context, start.stop)
            self._hold(start, on_done)
            loop.call_later(
                self._rng.uniform(*self._takes), self.finish, start.context.run_id, Ended(Outcome.SUCCEEDED)
            )


@asynccontextmanager
async def fleet(
    stage: Engine, folder: Path, pools: Mapping[str, tuple[int, int]], takes: Span = (0.01, 0.05)
) -> AsyncIterator[None]:
    """Start executors on ``stage``: by pool, how many, and the slots of each. The pools are made."""
    stage.broker.declare(topology(dict.fromkeys(pools, 1000)))
    await stage.db.execute("INSERT INTO pools SELECT unnest($1::text[]) ON CONFLICT DO NOTHING", list(pools))
    async with AsyncExitStack() as stack:
        for pool, (executors, slots) in pools.items():
            for number in range(executors):
                name, rng = f"{pool}-{number}", random.Random(number)
                settings = ExecutorSettings(name, pool, folder / name, slots=slots, lease_s=LEASE_S)
                sandbox = TimedSandbox(takes, rng)
                made = Executor(settings, await _transport(stage, stack, number), sandbox, stage.clock, rng)
                await made.start()
                stack.push_async_callback(made.stop)
        slots = sum(executors * slots for executors, slots in pools.values())
        alive = "SELECT sum(slots) FROM executors WHERE stopped_at IS NULL"
        await stage.until(alive, holds=lambda found: found == slots)
        yield


@asynccontextmanager
async def second_hands(stage: Engine) -> AsyncIterator[None]:
    """Start one more Dispatcher and one more Recorder on ``stage``."""
    async with AsyncExitStack() as stack:
        for number, kind in enumerate((Recorder, Dispatcher)):
            transport, rng = await _transport(stage, stack, number), random.Random(number)
            made = (
                Recorder(stage.stores, transport, stage.clock, rng, RecordSettings(LEASE_S))
                if kind is Recorder
                else Dispatcher(stage.stores, transport, stage.clock, rng, DispatchSettings(0.2, LEASE_S, LEASE_S))
            )
            await made.start()
            stack.push_async_callback(made.stop)
        yield


async def _transport(stage: Engine, stack: AsyncExitStack, seed: int) -> MemoryTransport:
    transport = MemoryTransport(stage.broker, stage.clock, random.Random(seed))
    await transport.start()
    stack.push_async_callback(transport.close)
    return transport
