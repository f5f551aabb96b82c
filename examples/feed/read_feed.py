"""Prints what happens to runs: python read_feed.py amqp://guest:guest@localhost/ '*.run.failed.*'.

A queue of its own is bound to the feed. A fact may come twice, with the same id: it is printed once.
"""

import asyncio
import json
import sys
from collections.abc import Callable
from typing import Any

import aio_pika


async def read(url: str, pattern: str, on_fact: Callable[[dict[str, Any]], None]) -> None:
    """Call ``on_fact`` with each CloudEvent whose routing key matches ``pattern``, for ever."""
    seen: set[str] = set()
    connection = await aio_pika.connect(url)
    async with connection:
        channel = await connection.channel()
        queue = await channel.declare_queue(exclusive=True)
        await queue.bind("scheduler.feed", pattern)
        async with queue.iterator() as messages:
            async for message in messages:
                async with message.process():
                    event = json.loads(message.body)
                    if event["data"]["kind"] != "feed" and event["id"] not in seen:
                        seen.add(event["id"])
                        on_fact(event)


def print_fact(event: dict[str, Any]) -> None:
    data = event["data"]
    print(event["time"], event["type"].removeprefix("scheduler."), data["job"], data.get("reason") or "", flush=True)


if __name__ == "__main__":
    asyncio.run(read(sys.argv[1], sys.argv[2], print_fact))
