"""Webhooks while the database cannot be reached, or does not answer: the broker keeps them, or nobody says 202."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import pytest

from tests.support.hooks import SECRET, Hooks, hooking
from tests.support.proxy import Mode, Proxy

HOOK = {"verify": "standard-webhooks", "secrets": [{"env": "HOOK_SECRET"}]}
EVENTS = "scheduler.dispatcher.events"
PATIENCE_S = 5.0
"""Longer than a machine stands still."""


@asynccontextmanager
async def behind_proxy(dsn: str, *, keeps: bool = True) -> AsyncIterator[tuple[Hooks, Proxy]]:
    parts = urlsplit(dsn)
    async with Proxy(parts.hostname or "127.0.0.1", parts.port or 5432) as proxy:
        account = f"{parts.netloc.rpartition('@')[0]}@" if "@" in parts.netloc else ""
        through = urlunsplit(parts._replace(netloc=f"{account}127.0.0.1:{proxy.port}"))
        async with hooking(dsn, keeps=keeps, through=through) as hooks:
            await hooks.apply({"uploads": HOOK})
            try:
                yield hooks, proxy
            finally:
                proxy.mode = Mode.PASS


@pytest.fixture(autouse=True)
def secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOOK_SECRET", SECRET)


async def carried(hooks: Hooks) -> list[dict[str, Any]]:
    """Return what the broker keeps for the Dispatcher of events that are in no row."""
    consumer = await hooks.transport.consumer(EVENTS, credit=1000, name="test")
    found: list[dict[str, Any]] = []
    ready, _ = await hooks.transport.depth(EVENTS)
    while len(found) < ready:
        for delivery in await consumer.take(100):
            body = json.loads(delivery.body)
            found += body if isinstance(body, list) else [body]
    await consumer.close()
    return [message for message in found if "event" in message]


async def test_the_broker_keeps_events_while_the_database_is_not_there(database_url: str):
    async with behind_proxy(database_url) as (hooks, proxy):
        before = await hooks.send("uploads", {"n": 1}, delivery="before")
        proxy.mode = Mode.REFUSE
        proxy.cut()
        away = [await hooks.send("uploads", {"n": 2}, delivery="away") for _ in range(2)]
        again = await hooks.send("uploads", {"n": 1}, delivery="before")
        refused = await hooks.send("nothing", {})

        kept = {message["event_id"]: message["event"] for message in await carried(hooks)}
        proxy.mode = Mode.PASS
        back = await hooks.send("uploads", {"n": 2}, delivery="away")

    assert [202, 202, 202, 401] == [answer.status for answer in (before, *away, refused)]
    assert away[0].json["event_id"] == away[1].json["event_id"] == back.json["event_id"]
    assert before.json["event_id"] == again.json["event_id"]
    assert {away[0].json["event_id"], before.json["event_id"]} == kept.keys()
    event = kept[away[0].json["event_id"]]
    assert ("webhook.uploads", {"n": 2}, "uploads:away", "away") == tuple(
        event[name] for name in ("topic", "data", "key", "sender_id")
    )


async def test_a_database_that_does_not_answer_is_waited_for_once(database_url: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("scheduler.api.group_commit.PATIENCE_S", PATIENCE_S)
    async with behind_proxy(database_url) as (hooks, proxy):
        await hooks.send("uploads", {"n": 0})
        proxy.mode = Mode.BLACKHOLE
        began = time.monotonic()
        first = await asyncio.gather(*[hooks.send("uploads", {"n": n}) for n in range(20)])
        waited, began = time.monotonic() - began, time.monotonic()
        later = await asyncio.gather(*[hooks.send("uploads", {"n": n}) for n in range(20)])
        at_once = time.monotonic() - began
        proxy.mode = Mode.PASS
        taken = [answer.json["event_id"] for answer in (*first, *later)]
        kept = {message["event_id"] for message in await carried(hooks)}

    assert {202} == {answer.status for answer in (*first, *later)}
    assert set(taken) == kept
    assert 40 == len(kept)
    assert PATIENCE_S <= waited < PATIENCE_S + 5
    assert at_once < PATIENCE_S


async def test_a_broker_that_keeps_nothing_is_not_relied_on(database_url: str):
    async with behind_proxy(database_url, keeps=False) as (hooks, proxy):
        proxy.mode = Mode.REFUSE
        proxy.cut()
        away = await hooks.send("uploads", {"n": 1}, delivery="a")
        proxy.mode = Mode.PASS
        back = await hooks.send("uploads", {"n": 1}, delivery="a")

    assert (503, "unavailable") == (away.status, away.json["code"].removeprefix("database_"))
    assert "Retry-After" in away.headers
    assert 202 == back.status


async def test_when_neither_is_there_nobody_says_202(database_url: str):
    async with behind_proxy(database_url) as (hooks, proxy):
        proxy.mode = Mode.REFUSE
        proxy.cut()
        hooks.transport.lose_connection(stay_away=True)
        away = await hooks.send("uploads", {"n": 1}, delivery="a")
        hooks.transport.restore_connection()
        back = await hooks.send("uploads", {"n": 1}, delivery="a")

    assert (503, 202) == (away.status, back.status)
