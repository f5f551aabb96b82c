"""The example of the feed: its jobs load, and its reader prints each fact once."""

import asyncio
import importlib.util
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from actors.feeding import Feeding
from scheduler.clock import SystemClock
from scheduler.definitions.load import load
from scheduler.store.pool import connect
from scheduler.store.stores import Stores
from scheduler.transport.topology import topology
from tests.support.transports import AmqpRig

FOLDER = Path(__file__).parents[2] / "examples" / "feed"
FAILED = """
INSERT INTO feed (tenant, fact, ids, job_ids)
SELECT 'acme', fact, ARRAY[gen_random_uuid()], ARRAY[gen_random_uuid()]
FROM unnest(ARRAY['run.failed', 'run.succeeded', 'run.failed']) AS said (fact)
"""


def test_the_jobs_load() -> None:
    publish = load([FOLDER / "jobs.yaml"]).jobs["page-oncall"].run.publish

    assert publish is not None
    assert "alerts" == publish.exchange


async def test_the_reader_hears_what_it_asked_for(database_url: str, amqp_url: str) -> None:
    spec = importlib.util.spec_from_file_location("read_feed", FOLDER / "read_feed.py")
    assert spec is not None
    assert spec.loader is not None
    example: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    heard: asyncio.Queue[str] = asyncio.Queue()
    async with AsyncExitStack() as stack:
        rig = AmqpRig(stack, amqp_url)
        await rig.declare(topology({}))
        stores = await Stores.open(database_url, name="test", size=2)
        stack.push_async_callback(stores.close)
        feeding = Feeding(stores.main, await rig.transport(), SystemClock(), 3600.0, lambda: None)
        db = await connect(database_url, name="test")
        stack.push_async_callback(db.close)
        tasks = [
            asyncio.create_task(
                example.read(amqp_url, "*.run.failed.*", lambda event: heard.put_nowait(event["type"]))
            ),
            asyncio.create_task(feeding.publish_for_ever()),
        ]
        try:
            async with asyncio.timeout(15):
                while heard.qsize() < 2:  # its queue may be bound later than the first facts are told
                    await db.execute(FAILED)
                    await asyncio.wait(tasks, timeout=0.2)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    assert {"scheduler.run.failed"} == {heard.get_nowait() for _ in range(heard.qsize())}
