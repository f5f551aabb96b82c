"""Streams of server-sent events: the feed, and what a run says while it runs."""

import asyncio
import contextlib
import json
import uuid
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from scheduler.api import streams
from scheduler.store.telling import keep_told
from schemas.facts import AttemptTold, Progress
from tests.support.api import TRUE, Api, serving

FEED = "/api/v1/feed"
STREAM = {"Accept": "text/event-stream"}


@contextlib.asynccontextmanager
async def listening(api: Api, path: str, **headers: str) -> AsyncIterator["asyncio.StreamReader | Any"]:
    given = STREAM | {name.replace("_", "-"): value for name, value in headers.items()}
    async with api.session.get(api.url(path), headers=given) as answer:
        assert (answer.status, answer.headers["Content-Type"]) == (200, "text/event-stream; charset=utf-8")
        assert answer.headers["X-Accel-Buffering"] == "no"
        yield answer.content


async def heard(content: Any) -> dict[str, Any]:
    """Return the fields of the next block that says an event; data is read."""
    async with asyncio.timeout(10):
        while True:
            fields: dict[str, Any] = {}
            while line := (await content.readline()).decode().rstrip("\n"):
                name, _, value = line.partition(": ")
                fields[name] = json.loads(value) if name == "data" else value
            if "event" in fields:
                return fields


async def skipped(db: "asyncpg.Connection[asyncpg.Record]", job: str) -> None:
    """Record a firing that a person asked for, with a verdict, in the feed too."""
    await db.execute(
        """WITH f AS (
             INSERT INTO firings (id, tenant, kind, job_id, job_version, fires_at, wall_time, zone, verdict, decided_at)
             SELECT gen_random_uuid(), tenant, 'manual', id, version, now(), '', 'UTC', 'paused', now() FROM jobs
             WHERE name = $1 RETURNING id, tenant, job_id)
           INSERT INTO feed (tenant, fact, ids, job_ids)
           SELECT tenant, 'firing.paused', ARRAY[id], ARRAY[job_id] FROM f""",
        job,
    )


async def test_the_feed_is_read_in_pages_behind_a_cursor(database_url: str) -> None:
    async with serving(database_url) as api:
        await api.apply(a=TRUE)
        for _ in range(3):
            await skipped(api.db, "a")
        first = (await api.get(f"{FEED}?limit=2")).json
        second = (await api.get(f"{FEED}?limit=2&after={first['cursor']}")).json
        await skipped(api.db, "a")
        third = (await api.get(f"{FEED}?after={second['cursor']}")).json

        assert ["scheduler.firing.paused"] * 2 == [event["type"] for event in first["events"]]
        assert (first["more"], second["more"], len(second["events"]), len(third["events"])) == (True, False, 1, 1)
        assert len({event["id"] for page in (first, second, third) for event in page["events"]}) == 4
        assert (await api.get(f"{FEED}?after=nonsense")).status == 400
        assert (await api.get(f"{FEED}?after=99999999999-1-1")).status == 409
        assert (await api.get(f"{FEED}?after=99999999999-1-1", headers=STREAM)).status == 409


async def test_the_feed_is_heard_as_it_happens_and_goes_on_where_it_was_cut(database_url: str) -> None:
    async with serving(database_url) as api:
        await api.apply(a=TRUE)
        await skipped(api.db, "a")
        async with listening(api, FEED) as content:
            assert await content.readline() == b"retry: 2000\n"
            await skipped(api.db, "a")
            live = await heard(content)
        await skipped(api.db, "a")
        async with listening(api, f"{FEED}?after=0-0-0", Last_Event_ID=live["id"]) as content:
            later = await heard(content)

        assert (live["event"], live["data"]["data"]["job"]) == ("firing.paused", "a")
        assert later["data"]["id"] != live["data"]["id"]
        assert [int(part) for part in later["id"].split("-")] > [int(part) for part in live["id"].split("-")]


async def test_one_tenant_hears_nothing_of_another(database_url: str) -> None:
    async with serving(database_url, http={"auth": "keys"}) as api:
        await api.apply(a=TRUE)
        await api.apply("other", b=TRUE)
        for job in "ab":
            await skipped(api.db, job)
        pages = {name: (await api.get(FEED, key=await api.key("viewer", name))).json for name in ("default", "other")}

        told = {name: {event["data"]["job"] for event in page["events"]} for name, page in pages.items()}
        assert told == {"default": {"a"}, "other": {"b"}}


async def test_a_stream_without_news_is_pinged_with_where_it_is(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "_PING_S", 0.0)
    async with serving(database_url) as api, asyncio.timeout(10), listening(api, FEED) as content:
        await content.readuntil(b"\n\n")
        ping = (await content.readuntil(b"\n\n")).decode().split("\n")

        assert ping[0].startswith("id: ")
        assert ping[1] == ": ping"


async def test_a_caller_has_no_more_streams_than_it_may_and_those_that_end_count_no_more(database_url: str) -> None:
    async with serving(database_url, http={"streams": 2}) as api:
        async with listening(api, FEED), listening(api, FEED):
            third = await api.get(FEED, headers=STREAM)
        async with asyncio.timeout(10):
            while (await _open(api)) != 200:
                await asyncio.sleep(0.02)

        assert (third.status, third.json["code"]) == (429, "too_many_requests")
        assert int(third.headers["Retry-After"]) >= 1


async def test_a_stream_ends_when_its_process_goes(database_url: str) -> None:
    async with serving(database_url) as api, listening(api, FEED) as content:
        await content.readuntil(b"\n\n")
        async with asyncio.timeout(5):  # much less than an answer that was begun may take
            await api.ingress.drain()
            assert b"" == await content.read()


async def test_a_run_is_followed_to_its_end_and_after_it_nothing_comes(database_url: str) -> None:
    async with serving(database_url) as api:
        await api.apply(a=TRUE)
        run = await _run(api, "waiting")
        logs = f"/api/v1/runs/{run}/logs"
        async with listening(api, logs) as content:
            await api.db.execute(
                """INSERT INTO attempts (run_id, attempt, tenant, outcome, finished_at, output_head, output_bytes)
                   SELECT id, 1, tenant, 'succeeded', now(), E'one\\ntwo\\n', 8 FROM runs"""
            )
            await api.db.execute("UPDATE runs SET state = 'succeeded', finished_at = now(), sweep_at = NULL")
            events = [await heard(content) for _ in range(3)]
            rest = await content.read()
        again = await api.get(logs, headers=STREAM | {"Last_Event_ID": "over"})

        assert [event["event"] for event in events] == ["output", "attempt_over", "run_over"]
        assert [event["id"] for event in events] == ["1", "2", "over"]
        assert events[0]["data"] == {"attempt": 1, "text": "one\ntwo\n"}
        assert (events[2]["data"]["state"], rest, again.status) == ("succeeded", b"", 204)
        assert (await api.get(logs, headers=STREAM | {"Last_Event_ID": "x"})).status == 400
        assert (await api.get(logs.replace(run[:8], "0" * 8), headers=STREAM)).status == 404


async def test_progress_is_heard_while_a_run_goes_on_and_each_step_once(database_url: str) -> None:
    async with serving(database_url) as api:
        await api.apply(a=TRUE)
        run, token = await _run(api, "waiting"), uuid.uuid4()
        await api.db.execute(
            """UPDATE runs SET state = 'running', attempt = 1, owner = gen_random_uuid(), lease_token = $1,
                               lease_until = now() + interval '1 minute', claimed_at = now()""",
            token,
        )
        told = AttemptTold(tenant="default", run_id=uuid.UUID(run), attempt=1, lease_token=token, seq=1)
        events = []
        async with listening(api, f"/api/v1/runs/{run}/logs") as content, listening(api, FEED) as feed:
            for seq, progress in enumerate((Progress(done=1, total=4), Progress(done=4, message="é\nb")), start=1):
                await keep_told(api.stores.main, [told.model_copy(update={"seq": seq, "progress": progress})] * 2)
                events.append(await heard(content))
            fact = await heard(feed)
            await api.db.execute(
                "UPDATE runs SET state = 'cancelled', finished_at = now(), sweep_at = NULL, lease_token = NULL"
            )
            events.append(await heard(content))

        assert [(event["event"], event["id"]) for event in events] == [
            ("progress", "1"), ("progress", "1"), ("run_over", "over")
        ]  # fmt: skip
        assert (fact["event"], fact["data"]["data"]["run_id"]) == ("run.progress", run)
        assert fact["data"]["data"]["progress"]["done"] in {1, 4}  # as far as it is when the fact is read
        assert [event["data"] for event in events[:2]] == [
            {"attempt": 1, "done": 1, "total": 4, "message": ""},
            {"attempt": 1, "done": 4, "total": None, "message": "é\nb"},
        ]


async def _open(api: Api) -> int:
    async with api.session.get(api.url(FEED), headers=STREAM) as answer:
        return answer.status


async def _run(api: Api, state: str) -> str:
    row = await api.db.fetchrow(
        """INSERT INTO runs (id, tenant, job_id, job_version, job_name, flow_id, fired_at, state, pool, priority)
           SELECT gen_random_uuid(), tenant, id, version, name, gen_random_uuid(), now(), $1, 'default', 2 FROM jobs
           RETURNING id""",
        state,
    )
    assert row is not None
    return str(row["id"])
