"""The audit log over HTTP: what each operation writes, who may read it, and refusals."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from scheduler.api.app import make_app, served
from scheduler.api.site import Site
from scheduler.clock import SystemClock
from scheduler.config import Settings
from scheduler.domain.access import Role
from scheduler.metrics import Metrics
from scheduler.roles import ACTOR_ROLES
from scheduler.store.roles import as_role
from tests.support.api import DAILY, Answer, Api, serving
from tests.support.embedded import query

LOG = "/api/v1/audit"
SPAN = {"from": "2026-01-01T00:00:00Z", "to": "2026-01-02T12:00:00Z"}
FILE = {"version": 1, "jobs": {"b": {"run": {"command": ["true"]}}}}
CHANGING_NOTHING = {"plan_definitions"}
NOT_OURS = {"receive_webhook"}
"""What senders send is an event, and no person's change."""
ASKED: list[tuple[str, str, str, Any]] = [
    ("put_job", "PUT", "/jobs/a", DAILY),
    ("patch_job", "PATCH", "/jobs/a", {"description": "new"}),
    ("pause_job", "POST", "/jobs/a/pause", {"note": "x"}),
    ("resume_job", "POST", "/jobs/a/resume", None),
    ("disable_job", "POST", "/jobs/a/disable", None),
    ("enable_job", "POST", "/jobs/a/enable", None),
    ("run_job", "POST", "/jobs/a/run", {"params": {"p": "s3cret"}}),
    ("start_batch", "POST", "/runs:batch", {"runs": [{"job": "a"}]}),
    ("backfill_job", "POST", "/jobs/a/backfill", SPAN),
    ("stop_backfill", "POST", "/backfills/{backfill}/cancel", None),
    ("cancel_run", "POST", "/runs/{ready}/cancel", None),
    ("cancel_many_runs", "POST", "/runs:cancel", {"states": ["backing_off"]}),
    ("cancel_flow", "POST", "/flows/{flow}/cancel", None),
    ("retry_run", "POST", "/runs/{failed}/retry", None),
    ("discard_dead_run", "POST", "/dead-runs/{dead}/discard", None),
    ("apply_definitions", "POST", "/definitions/apply", FILE),
    ("pause_pool", "POST", "/queues/default/pause", None),
    ("resume_pool", "POST", "/queues/default/resume", None),
    ("clear_pool", "POST", "/queues/default/clear", None),
    ("publish_event", "POST", "/events", {"topic": "t", "data": {"p": "s3cret"}}),
    ("drain", "POST", "/executors/box/drain", None),
    ("undrain", "POST", "/executors/box/undrain", None),
    ("delete_job", "DELETE", "/jobs/a", None),
]
EXECUTOR = """
INSERT INTO executors (boot_id, name, pool, host, pid, version, slots, busy, handlers)
VALUES (gen_random_uuid(), 'box', 'default', 'desk', 1, '1', 1, 0, '{}')
"""
RUN = """
INSERT INTO runs (id, tenant, job_id, job_version, job_name, flow_id, fired_at, state, pool, priority, has_downstream,
                  finished_at)
SELECT gen_random_uuid(), tenant, id, 1, name, gen_random_uuid(), now(), $1, 'default', 2, true,
       CASE WHEN $1 = 'failed' THEN now() END FROM jobs WHERE name = 'a' RETURNING id::text
"""

FLOW = """
INSERT INTO flows (id, tenant, job_id) SELECT flow_id, tenant, job_id FROM runs WHERE id = $1::text::uuid
RETURNING id::text
"""


@pytest.fixture
async def api(database_url: str) -> AsyncIterator[Api]:
    given = {"auth": "keys", "per_second": 10_000, "failures_per_minute": 100_000}
    async with serving(database_url, http=given) as opened:
        yield opened


async def log(api: Api, more: str = "", **given: Any) -> list[dict[str, Any]]:
    answer = await api.get(f"{LOG}?limit=200{more}", key=await api.key("admin", **given))
    assert 200 == answer.status, answer.text
    found: list[dict[str, Any]] = answer.json["audit"]
    return found


async def test_every_operation_that_changes_something_is_written_with_who_and_from_where(api: Api) -> None:
    everything = served(make_app(Site(Settings(), SystemClock(), Metrics("test"))))
    changing = {one.name for one in everything if one.method not in {"GET", "HEAD"}}
    assert set() == changing - {name for name, *_ in ASKED} - CHANGING_NOTHING - NOT_OURS
    asked = [one for one in ASKED if one[0] in changing]
    await api.db.execute(EXECUTOR)
    key = await api.key("admin")
    key_id = await api.db.fetchval("SELECT id::text FROM api_keys")
    known: dict[str, str] = {}

    for name, method, path, body in asked:
        if name == "cancel_run":
            states = {"ready": "ready", "failed": "failed", "dead": "failed", "waits": "ready"}
            states |= {"backs": "backing_off", "flows": "waiting"}
            known |= {word: await api.db.fetchval(RUN, state) for word, state in states.items()}
            known["flow"] = await api.db.fetchval(FLOW, known["flows"])
        where = f"/api/v1{path.format(**known)}"
        answer = await api.ask(method, where, body, key=key, headers={"X-Request-Id": name})
        assert answer.status < 300, (name, answer.text)
        assert name == answer.headers["X-Request-Id"]
        if name == "backfill_job":
            known["backfill"] = answer.json["backfill"]

    rows = [row for row in await log(api) if row["request_id"] is not None]
    assert {name for name, *_ in asked} == {row["request_id"] for row in rows}
    assert {(f"key:{key_id}", "127.0.0.1", "default", "done", 1)} == {
        (row["actor"], row["address"], row["tenant"], row["result"], row["count"]) for row in rows
    }
    assert "s3cret" not in str(rows)


async def test_a_change_that_is_refused_or_repeated_is_not_written_as_done(api: Api) -> None:
    await api.apply(a=DAILY)
    key = await api.key("admin")

    for _ in range(2):
        again = await api.post("/api/v1/jobs/a/run", key=key, headers={"Idempotency-Key": "once"})
        assert 202 == again.status
    assert 412 == (await api.post("/api/v1/jobs/a/pause", key=key, headers={"If-Match": '"no"'})).status

    assert ["trigger"] == [row["action"] for row in await log(api) if row["request_id"] is not None]


async def test_who_paused_a_job_is_shown_with_it(api: Api) -> None:
    await api.apply(a=DAILY)
    key = await api.key("operator")
    await api.post("/api/v1/jobs/a/pause", key=key)
    [entry] = await log(api, "&action=pause")

    shown = (await api.get("/api/v1/jobs/a", key=key)).json["paused_by"]
    await api.post("/api/v1/jobs/a/resume", key=key)

    assert entry["actor"] == shown
    assert (await api.get("/api/v1/jobs/a", key=key)).json["paused_by"] is None


async def test_admins_see_their_tenant_and_nobody_else_sees_any(api: Api) -> None:
    await api.apply(a=DAILY)
    await api.apply("shop", b=DAILY)
    for role in set(Role) - {Role.ADMIN}:
        assert 403 == (await api.get(LOG, key=await api.key(role))).status

    ours, theirs = await log(api), await log(api, tenant="shop")

    assert ({"default"}, {"shop"}) == ({row["tenant"] for row in ours}, {row["tenant"] for row in theirs})
    assert {"job", "key", "operation"} == {row["kind"] for row in ours}
    assert {"job", "key"} == {row["kind"] for row in theirs}


async def test_the_list_is_filtered_and_goes_on_by_its_cursor(api: Api) -> None:
    await api.apply(a=DAILY, b=DAILY)
    key = await api.key("admin")
    for name in ("a", "b", "a"):
        await api.post(f"/api/v1/jobs/{name}/run", key=key)

    assert ["a", "a"] == [row["name"] for row in await log(api, "&action=trigger&kind=job&name=a")]
    assert 3 == len(await log(api, "&actor=key:*"))
    assert [] == await log(api, "&until=2020-01-01T00:00:00Z")
    assert [] == await log(api, "&since=2900-01-01T00:00:00Z")
    page = (await api.get(f"{LOG}?action=trigger&limit=2", key=key)).json
    rest = (await api.get(f"{LOG}?action=trigger&limit=2&cursor={page['next']}", key=key)).json
    assert ["a", "b", "a"] == [row["name"] for row in (*page["audit"], *rest["audit"])]
    assert 400 == (await api.get(f"{LOG}?action=pause&cursor={page['next']}", key=key)).status
    assert 422 == (await api.get(f"{LOG}?action=eat", key=key)).status


async def test_refusals_are_written(api: Api) -> None:
    await api.apply(a=DAILY)
    await api.apply("shop", b=DAILY)
    viewer, foreign = await api.key("viewer"), await api.key("author", "shop")
    run = await api.db.fetchval(RUN, "ready")

    await api.post("/api/v1/jobs/a/pause", key=viewer)
    await api.get("/api/v1/jobs", key="scheduler_key_" + "A" * 43)
    await api.post(f"/api/v1/runs/{run}/cancel", key=foreign)
    await api.post("/api/v1/definitions/apply", FILE | {"tenant": "default"}, key=foreign)
    await api.get("/api/v1/jobs/nothing", key=foreign)

    ours = {
        (row["after"]["status"], row["after"]["operation"], row["name"]): row
        for row in await log(api, "&result=denied")
    }
    assert {(403, "pause_job", "/api/v1/jobs/a/pause"), (401, "list_all_jobs", "/api/v1/jobs")} == ours.keys()
    assert "anonymous" == ours[401, "list_all_jobs", "/api/v1/jobs"]["actor"]
    theirs = await log(api, "&result=denied", tenant="shop")
    assert {(404, "cancel_run"), (404, "apply_definitions")} == {
        (row["after"]["status"], row["after"]["operation"]) for row in theirs
    }
    assert {("access", "operation", "127.0.0.1")} == {(row["action"], row["kind"], row["address"]) for row in theirs}


async def test_a_flood_of_refusals_fills_no_disk(api: Api) -> None:
    async def wrong() -> Answer:
        return await api.get("/api/v1/jobs", key="scheduler_key_" + "A" * 43)

    for _ in range(20):
        statuses = Counter(answer.status for answer in await asyncio.gather(*(wrong() for _ in range(20))))
        assert {401: 20} == statuses

    assert 10 == len(await log(api, "&result=denied"))


async def test_what_is_refused_is_refused_although_it_cannot_be_written(api: Api) -> None:
    await api.db.execute("REVOKE INSERT ON audit FROM scheduler_ingress")

    assert 401 == (await api.get("/api/v1/jobs", key="scheduler_key_" + "A" * 43)).status


async def test_no_change_is_made_that_cannot_be_written(api: Api) -> None:
    await api.apply(a=DAILY)
    key = await api.key("admin")
    await api.db.execute("REVOKE INSERT ON audit FROM scheduler_ingress")

    assert 503 == (await api.post("/api/v1/jobs/a/pause", key=key)).status
    assert (await api.db.fetchval("SELECT paused_at FROM jobs")) is None


@pytest.mark.parametrize("actor", ACTOR_ROLES)
async def test_no_actor_can_change_or_delete_an_entry(database_url: str, actor: str) -> None:
    dsn = as_role(database_url, ACTOR_ROLES[actor])
    for statement in (
        "UPDATE scheduler.audit SET actor = 'x'",
        "DELETE FROM scheduler.audit",
        "TRUNCATE scheduler.audit",
    ):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await query(dsn, statement)


async def test_the_interface_cannot_write_into_the_log_of_another_tenant(database_url: str) -> None:
    link = await asyncpg.connect(as_role(database_url, "scheduler_ingress"))
    try:
        async with link.transaction():
            await link.execute("SELECT set_config('app.tenant', 'shop', true)")
            entry = "INSERT INTO scheduler.audit (tenant, actor, action, kind, name) SELECT '{}', 'a', 'b', 'c', 'd'"
            await link.execute(entry.format("shop"))
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await link.execute(entry.format("default"))
    finally:
        await link.close()
