"""Work orders and attempts for tests of what runs jobs."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from scheduler.clock import SystemClock
from scheduler.ports import AttemptContext, Ended, InlineStart, StopRequest
from scheduler.sandbox.address_guard import NetworkPolicy
from scheduler.sandbox.bubblewrap import Bubblewrap
from scheduler.sandbox.handlers import HandlerRegistry
from scheduler.sandbox.means import Means
from scheduler.sandbox.runner import Runner
from scheduler.sandbox.warm import Recycling
from scheduler.sending import Sender
from schemas.work import CommandWork, HandlerWork, PythonWork, ScriptWork, TimeLimits, Work, WorkOrder


def an_order(work: Work, *, limits: TimeLimits | None = None, **fields: Any) -> WorkOrder:
    return WorkOrder(
        job="probe",
        job_version=1,
        flow_id=uuid.uuid4(),
        work=work,
        limits=limits or TimeLimits(hard_s=30),
        **fields,
    )


def command(*argv: str, **fields: Any) -> WorkOrder:
    return an_order(CommandWork(kind="command", argv=argv), **fields)


def shell(text: str, **fields: Any) -> WorkOrder:
    return an_order(ScriptWork(kind="script", text=text), **fields)


def python(target: str, **fields: Any) -> WorkOrder:
    return an_order(PythonWork(kind="python", target=target), **fields)


def calling(name: str, **fields: Any) -> WorkOrder:
    return an_order(HandlerWork(kind="handler", name=name), **fields)


def an_attempt() -> AttemptContext:
    return AttemptContext(tenant="default", run_id=uuid.uuid4(), attempt=1, lease_token=uuid.uuid4())


class Place:
    """A runner with its folders; ``run`` runs one order and waits for its end."""

    def __init__(self, runner: Runner, root: Path) -> None:
        self.runner = runner
        self.code_dir = root / "code"
        self.run_dir = root / "runs"

    async def run(self, order: WorkOrder, stop: StopRequest | None = None) -> Ended:
        async with asyncio.timeout(20):
            return await self.runner.run(order, an_attempt(), stop or StopRequest())

    async def run_inline(self, *orders: WorkOrder) -> list[Ended]:
        """Start all at once and return the ends in the order of the orders."""
        starts = [InlineStart(order, an_attempt(), StopRequest()) for order in orders]
        ends: dict[uuid.UUID, Ended] = {}
        all_done = asyncio.Event()

        def on_done(batch: list[tuple[InlineStart, Ended]]) -> None:
            for start, ended in batch:
                assert start.context.run_id not in ends
                ends[start.context.run_id] = ended
            if len(ends) == len(starts):
                all_done.set()

        self.runner.start_inline(starts, on_done)
        async with asyncio.timeout(20):
            await all_done.wait()
        return [ends[start.context.run_id] for start in starts]


@asynccontextmanager
async def a_place(
    root: Path,
    *handlers: object,
    network: NetworkPolicy | None = None,
    means: Means | None = None,
    recycling: Recycling | None = None,
    bubblewrap: Bubblewrap | str | None = None,
    sender: Sender | None = None,
) -> AsyncIterator[Place]:
    (root / "code").mkdir(exist_ok=True)
    registry = HandlerRegistry(root / "code")
    if handlers:
        registry.add(*handlers)
    runner = Runner(
        code_dir=root / "code",
        run_dir=root / "runs",
        handlers=registry,
        network=network or NetworkPolicy(),
        clock=SystemClock(),
        means=means,
        recycling=recycling,
        bubblewrap=bubblewrap if isinstance(bubblewrap, Bubblewrap) else None,
        sender=sender,
    )
    await runner.start()
    try:
        yield Place(runner, root)
    finally:
        await runner.close()


async def seen(path: Path) -> None:
    """Return when the file is there."""
    async with asyncio.timeout(20):
        while not path.exists():
            await asyncio.sleep(0.01)


async def pid_in(path: Path) -> int:
    """Return the number that a job writes into the file."""
    async with asyncio.timeout(20):
        while not path.exists() or not path.read_text().endswith("\n"):
            await asyncio.sleep(0.01)
    return int(path.read_text())


async def is_gone(pid: int) -> None:
    """Return when the process has ended."""
    async with asyncio.timeout(20):
        while alive(pid):
            await asyncio.sleep(0.01)


def alive(pid: int) -> bool:
    """Whether the process exists and is no zombie."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"
