"""The page "what happens when a webhook arrives" is what happens: its functions are entered in its order."""

import asyncio
import json
import random
import re
import sys
import threading
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import aiohttp

from scheduler.clock import SystemClock
from scheduler.config import Settings
from scheduler.definitions.load import load
from scheduler.embedded_scheduler import EmbeddedScheduler
from scheduler.metrics import Metrics
from scheduler.serving import make_ingress, make_site, open_hooks, open_site
from scheduler.store.reading import RunFilter, list_runs
from scheduler.transport.memory_broker import MemoryBroker
from scheduler.wiring import Code, World, open_link
from tests.support.hooks import SECRET, sign

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "walkthrough-webhook.md").read_text(encoding="utf-8")
NAMED = re.findall(r"`([\w/]+\.py)::([\w.]+)`", PAGE)


@contextmanager
def watched() -> Iterator[list[tuple[str, str]]]:
    """Yield a list that gets each function of the page when it is first entered, on this thread."""
    wanted, entered = set(NAMED), list[tuple[str, str]]()
    known: dict[CodeType, tuple[str, str] | None] = {}

    def look(frame: FrameType, event: str, _: Any) -> None:
        if event != "call":
            return
        code = frame.f_code
        if code not in known:
            path = Path(code.co_filename)
            name = (str(path.relative_to(ROOT)), code.co_qualname) if path.is_relative_to(ROOT) else None
            known[code] = name if name in wanted else None
            if known[code] is not None:
                entered.append(known[code])  # type: ignore[arg-type]

    assert threading.current_thread() is threading.main_thread()
    sys.setprofile(look)
    try:
        yield entered
    finally:
        sys.setprofile(None)


async def test_a_webhook_takes_the_way_that_the_page_tells(database_url: str, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("ORDERS_SECRET", SECRET)
    values = {"data_dir": tmp_path / "state", "database_url": database_url, "http": {"port": 0}}
    world = World(Settings.model_validate(values), SystemClock(), random.Random(1), Code(tmp_path), MemoryBroker())
    async with EmbeddedScheduler(world) as scheduler, AsyncExitStack() as stack:
        await scheduler.apply(load([ROOT / "examples" / "webhook" / "jobs.yaml"]))
        site = make_site(world, Metrics("up"))
        await open_site(site, scheduler.dsn_of("ingress"), stack, size=2)
        await open_hooks(site, world, await open_link(world, stack, actor="ingress"), stack)
        ingress = make_ingress(site, world)
        await ingress.start()
        stack.push_async_callback(ingress.drain)
        url = f"http://127.0.0.1:{ingress.port}/hooks/default/orders"
        body = json.dumps({"id": 7, "amount": 120, "country": "JP"}).encode()
        with watched() as entered:
            async with (
                aiohttp.ClientSession() as http,
                http.post(url, data=body, headers=sign(body, "msg_1")) as answer,
            ):
                assert 202 == answer.status
            async with asyncio.timeout(20):
                while len(await list_runs(scheduler.stores.main, "default", RunFilter(states=["succeeded"]))) < 2:
                    await asyncio.sleep(0.02)

    assert NAMED
    assert NAMED == entered
