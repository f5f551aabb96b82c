"""Jobs over HTTP: read, defined, switched, run; ETag, If-Match and idempotency keys."""

import asyncio
from datetime import UTC, datetime, timedelta

from tests.support.api import DAILY, TRUE, serving


async def test_a_job_is_put_read_patched_and_deleted(database_url: str) -> None:
    async with serving(database_url) as api:
        made = await api.ask("PUT", "/api/v1/jobs/dump", DAILY)
        again = await api.ask("PUT", "/api/v1/jobs/dump", DAILY)
        patched = await api.ask("PATCH", "/api/v1/jobs/dump", {"description": "nightly", "timeout": {"soft": "1m"}})
        reset = await api.ask("PATCH", "/api/v1/jobs/dump", {"description": None})
        gone = await api.ask("DELETE", "/api/v1/jobs/dump")
        missing = await api.get("/api/v1/jobs/dump")

        assert (made.status, made.json["version"], made.json["triggers"][0]["kind"]) == (201, 1, "cron")
        assert made.json["next_at"].endswith("T02:00:00Z")
        assert (again.status, again.json["version"]) == (200, 1)
        assert (patched.json["version"], patched.json["description"]) == (2, "nightly")
        assert patched.json["spec"]["timeout"]["soft"] == "1m"
        assert patched.json["spec"]["run"] == made.json["spec"]["run"]
        assert (reset.json["version"], reset.json["description"]) == (3, "")
        assert (gone.status, gone.json["done"]) == (200, "deleted")
        assert (missing.status, missing.json["code"]) == (404, "not_found")


async def test_jobs_are_listed_by_name_in_pages_also_when_the_last_of_a_page_is_gone(database_url: str) -> None:
    async with serving(database_url) as api:
        await api.apply("default", **dict.fromkeys("edcba", DAILY))
        first = await api.get("/api/v1/jobs?limit=2")
        assert 200 == (await api.ask("DELETE", "/api/v1/jobs/b")).status
        second = (await api.get(f"/api/v1/jobs?limit=2&cursor={first.json['next']}")).json
        third = (await api.get(f"/api/v1/jobs?limit=2&cursor={second['next']}")).json

        pages = [[job["name"] for job in page["jobs"]] for page in (first.json, second, third)]
        assert [["a", "b"], ["c", "d"], ["e"]] == pages
        assert third["next"] is None
        assert "cursor=" in first.headers["Link"]


async def test_an_export_is_what_stands_for_who_asks(database_url: str) -> None:
    async with serving(database_url, http={"auth": "keys"}) as api:
        await api.apply(a=TRUE, b=DAILY)
        await api.apply("other", a=DAILY)
        mine, theirs = await api.key("author"), await api.key("author", tenant="other")
        first = [(await api.get("/api/v1/definitions", key=key)).json["jobs"] for key in (mine, theirs, mine)]
        await api.ask("PATCH", "/api/v1/jobs/a", {"description": "x"}, key=mine)
        await api.ask("DELETE", "/api/v1/jobs/b", key=mine)
        then = [(await api.get("/api/v1/definitions", key=key)).json for key in (mine, theirs)]

        assert first == [{"a": TRUE, "b": DAILY}, {"a": DAILY}, {"a": TRUE, "b": DAILY}]
        assert [{"a": {**TRUE, "description": "x"}}, {"a": DAILY}] == [said["jobs"] for said in then]
        assert ["default", "other"] == [said["tenant"] for said in then]
        assert {} == (await api.get("/api/v1/definitions?source=none", key=mine)).json["jobs"]


async def test_what_is_wrong_with_a_definition_is_said_as_for_a_file(database_url: str) -> None:
    async with serving(database_url) as api:
        await api.apply(known=TRUE)
        answer = await api.ask(
            "PUT", "/api/v1/jobs/a", {"run": {"command": ["x"]}, "tiemout": "1m", "needs": ["known", "nobody"]}
        )

        assert (answer.status, answer.json["code"]) == (422, "invalid_definitions")
        found = {error["path"]: error["message"] for error in answer.json["errors"]}
        assert 'did you mean "timeout"?' in found["jobs.a.tiemout"]
        assert "nobody" in found["jobs.a.needs[1].job"]
        assert set(found) == {"jobs.a.tiemout", "jobs.a.needs[1].job"}


async def test_a_change_is_refused_when_somebody_was_faster(database_url: str) -> None:
    async with serving(database_url) as api:
        made = await api.ask("PUT", "/api/v1/jobs/a", DAILY, headers={"If_None_Match": "*"})
        taken = await api.ask("PUT", "/api/v1/jobs/a", DAILY, headers={"If_None_Match": "*"})
        seen = {"If_Match": made.headers["ETag"]}
        first = await api.post("/api/v1/jobs/a/pause", {"note": "holiday"}, headers=seen)
        second = await api.ask("PATCH", "/api/v1/jobs/a", {"description": "x"}, headers=seen)
        fresh = (await api.get("/api/v1/jobs/a")).headers["ETag"]
        third = await api.ask("PATCH", "/api/v1/jobs/a", {"description": "x"}, headers={"If_Match": f'"0", {fresh}'})

        assert [made.status, taken.status, first.status, second.status, third.status] == [201, 412, 200, 412, 200]
        assert (third.json["paused"], third.json["pause_note"]) == (True, "holiday")


async def test_the_same_idempotency_key_changes_once(database_url: str) -> None:
    async with serving(database_url) as api:
        await api.apply(a=TRUE)
        key = {"Idempotency_Key": "one"}
        first = await api.post("/api/v1/jobs/a/run", {"params": {"n": 1}}, headers=key)
        again = await api.post("/api/v1/jobs/a/run", {"params": {"n": 1}}, headers=key)
        other = await api.post("/api/v1/jobs/a/run", {"params": {"n": 2}}, headers=key)

        assert [first.status, again.status, other.status] == [202, 202, 422]
        assert (again.json, again.headers["Idempotency-Replayed"]) == (first.json, "true")
        assert other.json["code"] == "idempotency_key_reused"
        assert await api.db.fetchval("SELECT count(*) FROM firings") == 1
        await api.db.execute("UPDATE idempotency_keys SET created_at = now() - interval '25 hours'")
        later = await api.post("/api/v1/jobs/a/run", {"params": {"n": 2}}, headers=key)
        assert (later.status, await api.db.fetchval("SELECT count(*) FROM firings")) == (202, 2)


async def test_of_two_requests_with_one_key_at_once_one_is_told_to_wait(database_url: str) -> None:
    async with serving(database_url) as api:
        await api.apply(a=TRUE)
        async with api.db.transaction():
            await api.db.execute("SELECT FROM jobs FOR UPDATE")
            key = {"Idempotency_Key": "one"}
            first = asyncio.create_task(api.post("/api/v1/jobs/a/run", headers=key))
            held = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted"
            async with asyncio.timeout(10):
                while not await api.db.fetchval(held):
                    await asyncio.sleep(0.01)
            second = await api.post("/api/v1/jobs/a/run", headers=key)

        assert (second.status, second.json["code"]) == (409, "in_flight")
        assert (await first).status == 202


async def test_a_refused_change_leaves_nothing_behind(database_url: str) -> None:
    async with serving(database_url) as api:
        await api.apply(a=TRUE, b={**TRUE, "needs": ["a"]})
        refused = await api.ask("DELETE", "/api/v1/jobs/a", headers={"Idempotency_Key": "k"})

        assert (refused.status, refused.json["code"]) == (409, "conflict")
        assert await api.db.fetchval("SELECT count(*) FROM idempotency_keys") == 0
        assert await api.db.fetchval("SELECT count(*) FROM jobs WHERE deleted_at IS NULL") == 2


async def test_a_job_is_resumed_from_a_time(database_url: str) -> None:
    """Later: what falls before is in the ledger as paused. It is the cursor of the pause that says so."""
    at = datetime.now(UTC).replace(microsecond=0) + timedelta(days=3)
    async with serving(database_url) as api:
        await api.apply(a=DAILY)
        paused = await api.post("/api/v1/jobs/a/pause", {"note": "until the move"})
        resumed = await api.post("/api/v1/jobs/a/resume", {"at": at.isoformat()})
        again = await api.post("/api/v1/jobs/a/resume")

        assert [paused.json["changed"], resumed.json["changed"], again.json["changed"]] == [True, True, False]
        assert await api.db.fetchval("SELECT held_until FROM triggers") == at
        assert await api.db.fetchval("SELECT active FROM triggers")


async def test_a_disabled_job_is_not_run(database_url: str) -> None:
    async with serving(database_url) as api:
        await api.apply(a=TRUE)
        await api.post("/api/v1/jobs/a/disable")
        refused = await api.post("/api/v1/jobs/a/run")
        await api.post("/api/v1/jobs/a/enable")

        assert refused.status == 409
        assert (await api.post("/api/v1/jobs/a/run")).status == 202


async def test_next_fires_and_backfills(database_url: str) -> None:
    async with serving(database_url) as api:
        await api.apply(a=DAILY)
        fires = await api.get("/api/v1/jobs/a/next?from=2027-01-01T00:00:00Z&count=2")
        span = {"from": "2026-01-01T00:00:00Z", "to": "2026-01-03T12:00:00Z"}
        dry = await api.post("/api/v1/jobs/a/backfill", span | {"dry_run": True})
        wet = await api.post("/api/v1/jobs/a/backfill", span)
        listed = await api.get("/api/v1/backfills?limit=1")
        stopped = await api.post(f"/api/v1/backfills/{wet.json['backfill']}/cancel")

        assert fires.json["fires"] == ["2027-01-01T02:00:00Z", "2027-01-02T02:00:00Z"]
        assert (dry.json["count"], dry.json["backfill"]) == (3, None)
        assert (wet.status, wet.json["count"]) == (202, 3)
        assert listed.json["backfills"][0]["id"] == wet.json["backfill"]
        assert stopped.json["state"] == "cancelling"
