"""Who may do what: every operation of the application, by role and by tenant. The list is the application's own."""

import uuid
from typing import Any

import pytest

from scheduler.api.app import make_app, served
from scheduler.api.site import Site
from scheduler.clock import SystemClock
from scheduler.config import Settings
from scheduler.domain.access import Action, Role
from scheduler.metric_names import Measured
from scheduler.metrics import Metrics
from tests.support.api import TRUE, Api, serving

OPEN = {"/livez", "/healthz", "/readyz", "/health", "/openapi.json", "/docs", "/hooks/{tenant}/{name}"}
"""What asks nobody, or asks by itself."""
MAY = {
    Role.VIEWER: {Action.VIEW},
    Role.OPERATOR: {Action.VIEW, Action.OPERATE},
    Role.AUTHOR: {Action.VIEW, Action.OPERATE, Action.DEFINE},
    Role.ADMIN: set(Action),
}
SPAN = {"from": "2026-01-01T00:00:00Z", "to": "2026-01-02T00:00:00Z"}
BODIES: dict[str, Any] = {
    "put_job": TRUE,
    "patch_job": {"description": "x"},
    "backfill_job": SPAN,
    "start_batch": {"runs": [{"job": "nothing"}]},
    "cancel_many_runs": {"job": "nothing"},
    "plan_definitions": {"version": 1, "jobs": {}},
    "apply_definitions": {"version": 1, "jobs": {}},
    "publish_event": {"topic": "nothing"},
}


EVERYTHING = served(make_app(Site(Settings(), SystemClock(), Metrics("test"))))
OPERATIONS = [(one.name, one.method, one.path, one.action) for one in EVERYTHING if one.action is not None]


def filled(path: str, job: str = "nothing", run: str = "") -> str:
    some = run or str(uuid.UUID(int=7))
    values = {"name": job, "pool": "default", "run_id": some, "backfill_id": some, "flow_id": some, "event_id": some}
    return path.format(**values)


def test_every_route_says_what_it_needs_or_is_known_to_be_open() -> None:
    assert OPEN == {one.path for one in EVERYTHING if one.action is None}
    assert {action for *_, action in OPERATIONS} == set(Action)
    assert len(OPERATIONS) > 40


async def test_each_role_reaches_what_it_may_and_nothing_else(database_url: str) -> None:
    async with serving(database_url, http={"auth": "keys", "per_second": 10_000}) as api:
        found = {}
        for role in Role:
            key = await api.key(role)
            for name, method, path, _ in OPERATIONS:
                answer = await api.ask(method, filled(path), BODIES.get(name), key=key)
                found[name, method, role] = answer.status

        wrong = {
            (name, role): found[name, method, role]
            for name, method, _, action in OPERATIONS
            for role in Role
            if (found[name, method, role] == 403) == (action in MAY[role]) or found[name, method, role] in {401, 500}
        }
        assert {} == wrong


async def test_nobody_is_answered_without_a_good_key(database_url: str) -> None:
    async with serving(
        database_url, http={"auth": "keys", "per_second": 10_000, "failures_per_minute": 100_000}
    ) as api:
        good = await api.key("admin")
        statuses = {
            (name, kind): (await api.ask(method, filled(path), BODIES.get(name), **given)).status
            for name, method, path, _ in OPERATIONS
            for kind, given in {
                "none": {},
                "wrong": {"key": "scheduler_key_" + "A" * 43},
                "basic": {"headers": {"Authorization": f"Basic {good}"}},
                "cookie": {"headers": {"Cookie": f"key={good}"}},
            }.items()
        }

        assert {401} == set(statuses.values())


async def test_what_is_another_tenants_is_not_there(database_url: str) -> None:
    async with serving(database_url, http={"auth": "keys", "per_second": 10_000}) as api:
        ours, run = await _with_a_run(api)
        theirs = await api.key("admin", tenant="other")
        own = await api.key("admin")
        there = {}
        for name, method, path, action in OPERATIONS:
            if (
                "{" not in path
                or action is Action.RUN_POOLS
                or path.startswith(("/api/v1/queues", "/api/v1/calendars"))
            ):
                continue
            if name == "put_job":
                continue  # makes a job of the same name in its own tenant, see below
            there[name] = (await api.ask(method, filled(path, ours, run), BODIES.get(name), key=theirs)).status

        assert {404} == set(there.values()), there
        assert (await api.get(f"/api/v1/runs/{run}", key=own)).status == 200
        made = await api.ask("PUT", f"/api/v1/jobs/{ours}", TRUE, key=theirs, headers={"If_None_Match": "*"})
        assert made.status == 201
        assert (await api.get("/api/v1/runs", key=theirs)).json["runs"] == []
        for path in ("/api/v1/queues/default/pause", "/api/v1/queues/default/resume"):
            assert (await api.post(path, key=theirs)).status == 403


async def test_a_file_for_another_tenant_or_with_pools_is_refused(database_url: str) -> None:
    pools = {"version": 1, "pools": {"gpu": {"queue_limit": 5}}, "jobs": {}}
    async with serving(database_url, http={"auth": "keys"}) as api:
        author, foreign = await api.key("author"), await api.key("admin", tenant="other")
        elsewhere = await api.post(
            "/api/v1/definitions/apply", {"version": 1, "tenant": "other", "jobs": {}}, key=author
        )

        assert elsewhere.status == 404
        assert (await api.post("/api/v1/definitions/apply", pools, key=author)).status == 403
        assert (await api.post("/api/v1/definitions/apply", pools, key=foreign)).status == 403
        assert (await api.post("/api/v1/definitions/apply", pools, key=await api.key("admin"))).status == 200


async def test_what_all_tenants_share_is_told_to_the_operators_only(database_url: str) -> None:
    async def measured() -> Measured:
        return Measured([("backlog", "gpu", 7.0)], [("default", "payroll", "sum", 1.0)])

    async with serving(database_url, http={"auth": "keys"}) as api:
        api.site.metrics.measure = measured
        await api.apply("other", b=TRUE)
        await api.db.execute(
            """INSERT INTO executors (boot_id, name, pool, slots, busy, handlers, host, pid, version)
               VALUES (gen_random_uuid(), 'box-1', 'default', 5, 0, '{}', 'desk', 7, '1')"""
        )
        await api.db.execute("UPDATE retaining SET trouble = '/archive/payer/2026-03-02 cannot be written to'")
        ours, theirs = await api.key("viewer"), await api.key("admin", tenant="other")
        told = {}
        for whose, key in (("theirs", theirs), ("ours", ours), ("theirs again", theirs)):
            page = (await api.get("/health/detailed", key=key)).json
            health = page["executors"]
            listed = (await api.get("/api/v1/executors", key=key)).json["executors"]
            metrics = (await api.get("/metrics", key=key)).text
            told[whose] = (
                *("desk" in str(health), "desk" in str(listed), "payer" in str(page["warnings"]), "payer" in str(page)),
                *("payroll" in metrics, 'pool="gpu"' in metrics),
            )
            assert "box-1" in str(health), "that it is there they may know"
            assert "scheduler_ready" in metrics

    assert told == {"theirs": (False,) * 6, "ours": (True,) * 6, "theirs again": (False,) * 6}


@pytest.mark.parametrize("how", ["revoked_at = now()", "expires_at = now()", "digest = sha256('')"])
async def test_a_key_is_worth_nothing_from_the_next_request_on(database_url: str, how: str) -> None:
    async with serving(database_url, http={"auth": "keys"}) as api:
        key = await api.key("viewer")
        before = await api.get("/api/v1/jobs", key=key)
        used = await api.db.fetchval("SELECT last_used_at > now() - interval '1 minute' FROM api_keys")
        await api.db.execute(f"UPDATE api_keys SET {how}")

        assert (before.status, used) == (200, True)
        assert (await api.get("/api/v1/jobs", key=key)).status == 401


async def _with_a_run(api: Api) -> tuple[str, str]:
    await api.apply(ours=TRUE)
    run = uuid.uuid4()
    await api.db.execute(
        """INSERT INTO runs (id, tenant, job_id, job_version, job_name, flow_id, fired_at, state, pool, priority)
           SELECT $1, tenant, id, version, name, $1, now(), 'ready', 'default', 2 FROM jobs""",
        run,
    )
    await api.db.execute(
        "INSERT INTO events (id, tenant, source, topic, data, sweep_at) VALUES ($1, 'default', 'api', '', '{}', now())",
        run,
    )
    return "ours", str(run)
