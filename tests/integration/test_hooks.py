"""Webhooks as senders see them: who is let in, what is answered, what is recorded."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.hooks import SECRET, Hooks, hooking, sign

STANDARD = {"verify": "standard-webhooks", "secrets": [{"env": "HOOK_SECRET"}]}
OPEN = {"verify": "none"}


@pytest.fixture
async def hooks(database_url: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOOK_SECRET", SECRET)
    monkeypatch.setattr("scheduler.api.group_commit.PATIENCE_S", 30.0)  # what a slow database is for is told elsewhere
    async with hooking(database_url) as opened:
        await opened.apply({"uploads": STANDARD, "open": OPEN})
        yield opened


async def test_an_event_is_recorded_once_however_often_it_is_sent(hooks: Hooks):
    first = await hooks.send("uploads", {"order": 7}, delivery="msg_1", X_Shop="eu")
    again = await hooks.send("uploads", {"order": 7}, delivery="msg_1")
    other = await hooks.send("uploads", {"order": 7}, delivery="msg_2")

    assert (202, 200, 202) == (first.status, again.status, other.status)
    assert {"event_id": first.json["event_id"], "duplicate": True} == again.json
    assert first.json["event_id"] != other.json["event_id"]
    rows = await hooks.rows("id::text, source, topic, data, sender_id, headers ->> 'x-shop', verdict")
    assert (first.json["event_id"], "webhook", "webhook.uploads", {"order": 7}, "msg_1", "eu", None) == rows[0]
    assert 2 == len(rows)
    assert "webhook-signature" not in str(await hooks.rows("headers"))


async def test_a_hundred_at_once_and_each_twice_are_a_hundred_events(hooks: Hooks):
    answers = await asyncio.gather(
        *[hooks.send("uploads", {"n": n}, delivery=f"msg_{n}") for n in range(100) for _ in range(2)]
    )

    assert {202: 100, 200: 100} == {status: sum(a.status == status for a in answers) for status in (200, 202)}
    assert 100 == len({answer.json["event_id"] for answer in answers}) == len(await hooks.rows())


async def test_every_wrong_proof_and_every_wrong_address_are_answered_the_same(hooks: Hooks):
    wrong = sign(b"{}", "msg_1", secret="whsec_" + SECRET[6:][::-1].replace("=", "A"))
    unsigned = {"Content-Type": "application/json"}
    late = sign(b"{}", "msg_1", at=1)
    asked = [("uploads", wrong), ("uploads", unsigned), ("uploads", late), ("nothing", wrong), ("nothing", unsigned)]
    answers = [await hooks.api.ask("POST", f"/hooks/default/{name}", b"{}", headers=given) for name, given in asked]
    answers.append(await hooks.send("/hooks/nobody/uploads", {}))

    assert [401] * 6 == [answer.status for answer in answers]
    assert 1 == len({json.dumps({**answer.json, "instance": ""}) for answer in answers})
    assert [] == await hooks.rows()


async def test_who_is_refused_too_often_is_told_to_wait_and_others_are_not(hooks: Hooks):
    hooks.api.site.refusals.per_s = 1 / 3600  # nobody is forgiven while this lasts
    bad = [await hooks.send("nothing", {}) for _ in range(21)]

    assert [401] * 20 + [429] == [answer.status for answer in bad]
    assert "Retry-After" in bad[-1].headers
    assert 202 == (await hooks.send("uploads", {})).status


async def test_both_secrets_are_good_while_they_are_changed(hooks: Hooks, tmp_path: Path):
    new = "whsec_" + SECRET[6:][::-1]
    (tmp_path / "new").write_text(new + "\n")
    both = {"verify": "standard-webhooks", "secrets": [{"file": str(tmp_path / "new")}, {"env": "HOOK_SECRET"}]}
    await hooks.apply({"uploads": both})

    async def status(secret: str, delivery: str) -> int:
        given = sign(b"{}", delivery, secret=secret)
        return (await hooks.api.ask("POST", "/hooks/default/uploads", b"{}", headers=given)).status

    assert (202, 202) == (await status(SECRET, "a"), await status(new, "b"))
    await hooks.apply({"uploads": {**both, "secrets": both["secrets"][:1]}})  # type: ignore[index]
    assert (401, 202) == (await status(SECRET, "c"), await status(new, "d"))


@pytest.mark.parametrize("reference", [{"env": "NOT_THERE"}, {"file": "/nonexistent"}, {"file": "/dev/zero"}])
async def test_an_endpoint_whose_secret_is_not_there_lets_nobody_in(hooks: Hooks, reference: dict[str, str]):
    await hooks.apply({"uploads": {"verify": "standard-webhooks", "secrets": [reference]}})

    assert 401 == (await hooks.send("uploads", {})).status


async def test_an_apply_is_heard_of_without_a_restart(hooks: Hooks, database_url: str):
    async def until(status: int) -> None:
        async with asyncio.timeout(10):
            while (await hooks.send("late", {})).status != status:
                await asyncio.sleep(0.02)

    hooks.api.site.refusals.burst = 1000.0
    await hooks.api.db.execute(
        "INSERT INTO webhooks (tenant, name, spec) VALUES ('default', 'late', '{\"verify\": \"none\"}')"
    )
    await hooks.api.db.execute("SELECT pg_notify('scheduler_definitions', '')")
    await until(202)


async def test_who_tries_whether_the_endpoint_is_there_starts_nothing(hooks: Hooks, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOOK_SECRET", "a secret of many characters")
    await hooks.apply({"chat": {"verify": "slack", "secrets": [{"env": "HOOK_SECRET"}]}, "code": {
        "verify": "github", "secrets": [{"env": "HOOK_SECRET"}]}})  # fmt: skip
    import hmac
    import time

    key, at = b"a secret of many characters", str(int(time.time()))
    body = b'{"type": "url_verification", "challenge": "3eZbrw1aB"}'
    slack = {"X_Slack_Request_Timestamp": at, "Content_Type": "application/json",
             "X_Slack_Signature": "v0=" + hmac.digest(key, f"v0:{at}:".encode() + body, "sha256").hex()}  # fmt: skip
    github = {"X_GitHub_Event": "ping", "X_GitHub_Delivery": "1", "Content_Type": "application/json",
              "X_Hub_Signature_256": "sha256=" + hmac.digest(key, b"{}", "sha256").hex()}  # fmt: skip

    challenged = await hooks.api.ask("POST", "/hooks/default/chat", body, headers=slack)
    pinged = await hooks.api.ask("POST", "/hooks/default/code", b"{}", headers=github)
    pushed = await hooks.api.ask("POST", "/hooks/default/code", b"{}", headers=github | {"X_GitHub_Event": "push"})

    assert (200, {"challenge": "3eZbrw1aB"}) == (challenged.status, challenged.json)
    assert (200, {"pong": True}) == (pinged.status, pinged.json)
    assert 202 == pushed.status
    assert [("webhook.code", {})] == await hooks.rows()


async def test_without_a_name_of_its_own_each_request_is_another(hooks: Hooks):
    async def post(**headers: str) -> Any:
        given = {"Content_Type": "application/json", **headers}
        return (await hooks.api.ask("POST", "/hooks/default/open", b'{"a": 1}', headers=given)).status

    assert [202, 202] == [await post(), await post()]
    assert [202, 200] == [await post(Idempotency_Key="k"), await post(Idempotency_Key="k")]
    assert 3 == len(await hooks.rows())
