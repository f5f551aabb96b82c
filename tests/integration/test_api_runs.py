"""Runs over HTTP: every state is found, in order, page by page, and nobody else's."""

import itertools
import uuid

import pytest

from schemas.vocabulary import RunState
from tests.support.api import TRUE, Api, serving

ENDED = ("succeeded", "failed", "cancelled", "skipped")
INSERT = """
    INSERT INTO runs (id, tenant, job_id, job_version, job_name, flow_id, fired_at, state, pool, priority, finished_at,
                      owner, lease_until, lease_token)
    SELECT $1::uuid, tenant, id, version, name, $1::uuid, now(), $2::text, 'default', 2, CASE WHEN $3 THEN now() END,
           CASE WHEN $2::text = 'running' THEN $1::uuid END, CASE WHEN $2::text = 'running' THEN now() END,
           CASE WHEN $2::text = 'running' THEN $1::uuid END
    FROM jobs WHERE tenant = $4 AND name = $5"""


async def fill(api: Api) -> dict[str, list[str]]:
    """Write runs of every state, of two tenants; return ids of the first one by state, newest first."""
    await api.apply(a=TRUE, b=TRUE)
    await api.apply("other", a=TRUE)
    found: dict[str, list[str]] = {state: [] for state in RunState}
    for number, state in enumerate(itertools.chain(*itertools.repeat(tuple(RunState), 4))):
        for tenant in ("default", "other"):
            run = uuid.UUID(int=(number << 8) | (7 if tenant == "default" else 9))
            job = "b" if tenant == "default" and number % 2 else "a"
            await api.db.execute(INSERT, run, state.value, state in ENDED, tenant, job)
            if tenant == "default":
                found[state].insert(0, str(run))
    return found


@pytest.mark.parametrize("count", [1, 2, 9])
async def test_a_list_by_states_is_the_whole_list_without_the_others(database_url: str, count: int) -> None:
    async with serving(database_url, http={"per_second": 10_000}) as api:
        there = await fill(api)
        for states in itertools.islice(itertools.combinations(RunState, count), 12):
            wanted = sorted((run for state in states for run in there[state]), reverse=True)
            asked = "&".join(f"state={state}" for state in states)
            seen: list[str] = []
            cursor = ""
            while True:
                page = (await api.get(f"/api/v1/runs?limit=3&{asked}{cursor}")).json
                seen += [run["id"] for run in page["runs"]]
                if page["next"] is None:
                    break
                cursor = f"&cursor={page['next']}"

            assert wanted == seen, states


async def test_runs_of_a_job_are_its_own(database_url: str) -> None:
    async with serving(database_url) as api:
        await fill(api)
        of_job = (await api.get("/api/v1/jobs/b/runs?limit=200")).json["runs"]
        filtered = (await api.get("/api/v1/runs?limit=200&job=b&state=failed&state=running")).json["runs"]

        assert {run["job"] for run in of_job} == {"b"}
        assert [run["id"] for run in of_job if run["state"] in {"failed", "running"}] == [run["id"] for run in filtered]
        assert (await api.get("/api/v1/jobs/none/runs")).status == 404


async def test_many_runs_are_cancelled_by_what_they_are_and_by_flow(database_url: str) -> None:
    async with serving(database_url) as api:
        there = await fill(api)
        for refused in ({}, {"all": True, "job": "a"}, {"all": False}, {"states": []}, {"states": ["dead"]}):
            assert (await api.post("/api/v1/runs:cancel", refused)).status == 422, refused
        await api.db.execute("INSERT INTO flows (id, tenant, job_id) SELECT id, tenant, job_id FROM runs")

        flow = await api.post(f"/api/v1/flows/{there['ready'][0]}/cancel", {"reason": "not today"})
        some = await api.post("/api/v1/runs:cancel", {"job": "b", "states": ["waiting", "running", "failed"]})
        rest = await api.post("/api/v1/runs:cancel", {"all": True})
        again = await api.post("/api/v1/runs:cancel", {"states": ["waiting", "ready", "queued", "backing_off"]})

        assert (flow.status, flow.json) == (202, {"found": 1, "cancelled": 1, "asked": 0})
        assert (await api.get(f"/api/v1/runs/{there['ready'][0]}")).json["reason"] == "not today"
        assert some.json == {"found": 4, "cancelled": 2, "asked": 2}
        assert rest.json == {"found": 4 * 5 - 3, "cancelled": 4 * 4 - 3, "asked": 4}
        assert again.json == {"found": 0, "cancelled": 0, "asked": 0}
        assert await api.db.fetchval("SELECT count(*) FROM runs WHERE tenant = 'other' AND cancel_at IS NOT NULL") == 0
        assert (await api.post(f"/api/v1/flows/{uuid.uuid4()}/cancel")).status == 404


async def test_a_run_is_looked_at_cancelled_and_retried_once(database_url: str) -> None:
    async with serving(database_url) as api:
        there = await fill(api)
        ready, failed = there["ready"][0], there["failed"][0]
        why = await api.get(f"/api/v1/runs/{ready}/why")
        cancelled = await api.post(f"/api/v1/runs/{ready}/cancel", {"reason": "not today"})
        again = await api.post(f"/api/v1/runs/{ready}/cancel")
        retried = await api.post(f"/api/v1/runs/{failed}/retry", {"params": {"n": 1}})
        discarded = await api.post(f"/api/v1/dead-runs/{there['failed'][1]}/discard")
        dead = (await api.get("/api/v1/dead-runs")).json["dead_runs"]

        assert why.json["held_by"] == "executor"
        assert (cancelled.json["state"], again.status) == ("cancelled", 409)
        assert (await api.get(f"/api/v1/runs/{ready}")).json["reason"] == "not today"
        assert (retried.status, discarded.status) == (202, 200)
        assert await api.db.fetchval("SELECT params FROM firings WHERE retry_of = $1", uuid.UUID(failed)) == {"n": 1}
        assert there["failed"][1] not in {run["id"] for run in dead}
