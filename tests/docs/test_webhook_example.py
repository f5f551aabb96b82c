"""The example of webhooks: its jobs load, and what it posts is taken once."""

import asyncio
import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

from scheduler.definitions.load import load
from tests.support.hooks import SECRET, hooking

FOLDER = Path(__file__).parents[2] / "examples" / "webhook"


async def test_what_it_posts_is_taken_once(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = importlib.util.spec_from_file_location("post_webhook", FOLDER / "post_webhook.py")
    assert spec is not None
    assert spec.loader is not None
    example: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    monkeypatch.setenv("ORDERS_SECRET", SECRET)
    wanted = load([FOLDER / "jobs.yaml"])
    async with hooking(database_url) as hooks:
        await hooks.apply({name: hook.model_dump(mode="json") for name, hook in wanted.webhooks.items()})
        url, body = hooks.api.url("/hooks/default/orders"), b'{"id": 7, "amount": 9, "country": "JP"}'
        said = [await asyncio.to_thread(example.post, url, body, SECRET, "msg_1") for _ in range(2)]

        assert [("webhook.orders", json.loads(body))] == await hooks.rows()
    assert ["202", "200"] == [answer[:3] for answer in said]
