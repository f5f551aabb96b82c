"""Events, executors, definitions with webhooks, statistics and rates over HTTP."""

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import pytest

from scheduler.clock import SystemClock, VirtualClock
from scheduler.store.control import trigger_jobs
from tests.support.api import DAILY, TRUE, Api, serving

EVENTS = "/api/v1/events"
SECRET = "0123456789abcdefghijklmnopqrstuvwxyz-secret"
FILE = {
    "version": 1,
    "source": "here",
    "webhooks": {"shop": {"verify": "none"}},
    "jobs": {
        "gpu": {"run": {"command": ["true"]}, "labels": {"gpu": "yes"}},
        "sold": {"run": {"command": ["true"]}, "triggers": [{"webhook": "shop"}]},
    },
}


async def test_an_event_is_published_once_and_found_again(database_url: str) -> None:
    async with serving(database_url) as api:
        first = await api.post(EVENTS, {"topic": "orders.eu", "data": {"n": 1}, "id": "o-1", "subject": "order 1"})
        again = await api.post(EVENTS, {"topic": "orders.eu", "data": {"n": 1}, "id": "o-1"})
        other = await api.post(EVENTS, {"topic": "orders.us"})
        found = (await api.get(f"{EVENTS}?topic=orders.*&limit=1")).json
        rest = (await api.get(f"{EVENTS}?topic=orders.*&limit=1&cursor={found['next']}")).json
        one = (await api.get(first.headers["Location"])).json

        assert [202, 200, 202] == [answer.status for answer in (first, again, other)]
        assert (again.json["duplicate"], again.json["event_id"]) == (True, first.json["event_id"])
        assert [row["topic"] for row in (*found["events"], *rest["events"])] == ["orders.us", "orders.eu"]
        assert (one["data"], one["source"], one["verdict"], one["firings"]) == ({"n": 1}, "api", None, [])
        assert (one["subject"], one["sender_id"]) == ("order 1", "o-1")
        assert [] == (await api.get(f"{EVENTS}?verdict=started")).json["events"]
        assert 2 == len((await api.get(f"{EVENTS}?verdict=undecided&source=api")).json["events"])


async def test_the_same_request_with_the_same_key_publishes_once(database_url: str) -> None:
    async with serving(database_url) as api:
        asked = [
            await api.post(EVENTS, {"topic": "a"}, headers={"Idempotency_Key": "k"}) for _ in range(2)
        ]  # fmt: skip

        assert asked[0].json == asked[1].json
        assert await api.db.fetchval("SELECT count(*) FROM events") == 1


async def test_events_say_that_somebody_asked_over_http(database_url: str) -> None:
    async with serving(database_url) as api:
        await api.apply(a=DAILY)
        await api.post("/api/v1/jobs/a/run")
        since = {"from": "2026-01-01T00:00:00Z", "to": "2026-01-03T00:00:00Z"}
        await api.post("/api/v1/jobs/a/backfill", since)
        await trigger_jobs(api.stores.main, "default", ["a"], params=None, clock=SystemClock())
        found = (await api.get(EVENTS)).json["events"]

    assert [("cli", "job.trigger"), ("api", "job.backfill"), ("api", "job.trigger")] == [
        (row["source"], row["topic"]) for row in found
    ]


@pytest.mark.parametrize("body", [{}, {"topic": ""}, {"topic": "a.*"}, {"topic": "a b"}, {"topic": "a", "data": []}])
async def test_an_event_that_is_none_is_refused(database_url: str, body: object) -> None:
    async with serving(database_url) as api:
        assert (await api.post(EVENTS, body)).status == 422


async def test_an_executor_is_drained_and_works_again(database_url: str) -> None:
    async with serving(database_url) as api:
        await executor(api)
        drained = await api.post("/api/v1/executors/box-1/drain")
        wish = await api.db.fetchval("SELECT drain_at IS NOT NULL AND held IS NOT NULL FROM executors")
        back = await api.post("/api/v1/executors/box-1/undrain")

        assert (drained.status, drained.json) == (202, {"executor": "box-1", "drain": True})
        assert (wish, back.json["drain"]) == (True, False)
        assert None is await api.db.fetchval("SELECT drain_at FROM executors")
        assert (await api.post("/api/v1/executors/none/drain")).status == 404


async def test_definitions_say_webhooks_and_jobs_that_no_executor_could_run(database_url: str) -> None:
    async with serving(database_url) as api:
        await executor(api)
        planned = (await api.post("/api/v1/definitions/plan", FILE)).json
        applied = (await api.post("/api/v1/definitions/apply", FILE)).json
        again = (await api.post("/api/v1/definitions/apply", FILE)).json
        exported = (await api.get("/api/v1/definitions?source=here")).json

        for said in (planned, applied):
            assert (said["webhooks"], said["removed_webhooks"]) == (["shop"], [])
            assert [warning for warning in said["warnings"] if warning["path"] == "jobs.gpu"]
        assert again["webhooks"] == []
        assert exported["webhooks"] == {"shop": {"verify": "none"}}


async def test_a_token_from_before_a_theft_is_worth_nothing(database_url: str) -> None:
    now = datetime.now(UTC)
    settings = {"issuer": "https://id.example", "secret": SECRET, "not_before": now - timedelta(minutes=1)}
    async with serving(database_url, http={"auth": "jwt"}, jwt=settings) as api:
        statuses = []
        for age in (timedelta(), timedelta(minutes=2)):
            claims: dict[str, Any] = {"iss": "https://id.example", "aud": "scheduler", "sub": "me", "tenant": "default"}
            claims |= {"iat": now - age, "exp": now + timedelta(minutes=5), "roles": ["viewer"]}
            token = jwt.encode(claims, SECRET, "HS256")
            statuses.append((await api.get("/api/v1/jobs", key=token)).status)

        assert statuses == [200, 401]


async def test_every_answer_says_how_much_a_caller_may_still_ask(database_url: str) -> None:
    async with serving(database_url, http={"per_second": 1}) as api:
        api.site.clock = VirtualClock(datetime.now(UTC))  # it stands still: nobody gets more to ask meanwhile
        answers = [await api.get(path) for path in ("/api/v1/jobs", "/api/v1/jobs/none", *["/api/v1/jobs"] * 4)]

        assert {'"caller";q=4;w=4'} == {answer.headers["RateLimit-Policy"] for answer in answers}
        assert answers[0].headers["RateLimit"] == '"caller";r=3;t=1'
        assert answers[-1].status == 429
        assert answers[-1].headers["RateLimit"].startswith('"caller";r=0;t=')


async def test_statistics_of_many_runs_are_of_the_newest_and_say_so(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scheduler.api.pool_routes.MEASURED", 3)
    async with serving(database_url) as api:
        await api.apply(a=TRUE)
        for state in ("failed", *["succeeded"] * 10):
            await api.db.execute(
                """INSERT INTO runs (id, tenant, job_id, job_version, job_name, flow_id, fired_at, state, pool,
                                     priority, finished_at)
                   SELECT $1, tenant, id, version, name, $1, now(), $2, 'default', 2, now() FROM jobs""",
                uuid.UUID(int=int(datetime.now(UTC).timestamp() * 1000) << 80 | uuid.uuid4().int >> 48),
                state,
            )
        newest, all_of_it = (await api.get("/api/v1/stats")).json, (await api.get("/api/v1/stats?job=a")).json

        for said in (newest, all_of_it):
            [job] = said["jobs"]
            assert (job["complete"], job["runs"], job["success_rate"]) == (False, 10, 1.0)


async def executor(api: Api) -> None:
    """Say that an executor lives which has no labels."""
    await api.db.execute(
        """INSERT INTO executors (boot_id, name, pool, slots, busy, handlers, host, pid, version)
           VALUES (gen_random_uuid(), 'box-1', 'default', 5, 0, '{}', 'box', 7, '1')"""
    )
