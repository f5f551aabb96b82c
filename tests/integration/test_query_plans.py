"""The plans of the hot statements: every row is found by a key, on an empty database as on a filled one."""

from typing import Any

import asyncpg
import pytest

from scheduler.store.pool import connect
from scheduler.store.queries import queries

HOT = [
    ("attempts", "claim_attempts"),
    ("attempts", "return_attempts"),
    ("attempts", "lock_runs"),
    ("attempts", "settle_succeeded"),
    ("attempts", "settle_attempts"),
    ("attempts", "keep_late_ends"),
    ("leases", "extend_leases"),
    ("leases", "lock_expired"),
    ("flows", "lock_undecided"),
    ("flows", "lock_jobs"),
    ("flows", "count_active"),
    ("flows", "find_twin"),
    ("flows", "start_flows"),
    ("flows", "decide_firings"),
    ("flows", "take_owed"),
    ("flows", "decide_edges"),
    ("flows", "lock_waiting"),
    ("flows", "count_needs"),
    ("turns", "mark_active"),
    ("turns", "find_last"),
    ("turns", "release"),
    ("turns", "replace_waiting"),
    ("turns", "lock_active"),
    ("turns", "stay"),
    ("turns", "end_step"),
    ("backfills", "list_ledger"),
    ("backfills", "list_taken"),
    ("backfills", "lock_backfill"),
    ("backfills", "count_open"),
    ("backfills", "next_instants"),
    ("backfills", "set_runs"),
    ("backfills", "move_on"),
    ("backfills", "count_runs"),
    ("offers", "pool_strength"),
    ("offers", "offer_runs"),
    ("limits", "list_free"),
    ("offers", "withdraw_offers"),
    ("offers", "list_results"),
    ("triggers", "lock_due"),
    ("triggers", "advance"),
    ("triggers", "get_rules"),
    ("triggers", "find_next_at"),
    ("pacing", "release_held"),
    ("ledger", "page_of_all"),
    ("ledger", "page_of_verdicts"),
    ("ledger", "page_of_job"),
    ("ledger", "show_firings"),
    ("ledger", "foretell_held"),
]
BIG = {
    "runs", "firings", "triggers", "attempts", "run_edges", "jobs", "job_versions", "backfills", "backfill_instants"
}  # fmt: skip
FILL = """
INSERT INTO tenants (name) VALUES ('t');
INSERT INTO jobs (id, tenant, name, version) SELECT gen_random_uuid(), 't', 'j' || g, 1 FROM generate_series(1, 60) g;
INSERT INTO job_versions (job_id, version, tenant, spec) SELECT id, 1, 't', '{}' FROM jobs;
INSERT INTO triggers (id, tenant, job_id, job_version, key, kind, spec, anchor_at, last_at, next_at)
    SELECT gen_random_uuid(), 't', id, 1, 'k', 'every', '{}', now(), now(), now() + interval '1 day' FROM jobs;
INSERT INTO firings (id, tenant, kind, job_id, job_version, fires_at, wall_time, zone, verdict, decided_at)
    SELECT gen_random_uuid(), 't', 'time', id, 1, now(), 'w', 'UTC', 'paused', now() FROM jobs;
INSERT INTO runs (id, tenant, job_id, job_version, job_name, flow_id, fired_at, state, pool, priority, finished_at)
    SELECT gen_random_uuid(), 't', id, 1, name, id, now(), 'succeeded', 'default', 2, now() FROM jobs;
INSERT INTO run_edges (run_id, upstream_job_id, tenant, upstream_run_id, condition, state)
    SELECT id, job_id, 't', id, 'succeeded', 'met' FROM runs;
INSERT INTO backfills (id, tenant, job_id, from_at, to_at, again, max_parallel, priority, instants, released,
                       finished_at)
    SELECT id, 't', id, now(), now(), false, 1, 4, 1, 1, now() FROM jobs;
INSERT INTO backfill_instants (backfill_id, position, tenant, trigger_id, fires_at, wall_time, zone, job_version,
                               in_force)
    SELECT j.id, 0, 't', t.id, now(), 'w', 'UTC', 1, true FROM jobs AS j JOIN triggers AS t ON t.job_id = j.id;
INSERT INTO attempts (run_id, attempt, tenant, outcome, finished_at) SELECT id, 1, 't', 'succeeded', now() FROM runs;
ANALYZE;
"""


def unkeyed(node: dict[str, Any]) -> list[str]:
    """Return the scans below ``node`` that read a big table without a key."""
    found = []
    if node.get("Relation Name") in BIG and "Scan" in node["Node Type"]:
        bitmaps = [child for child in node.get("Plans", []) if "Index Cond" in child]
        partial = node.get("Index Name") in {
            "runs_backlog",
            "runs_limited",
            "triggers_due",
            "firings_held",
            "firings_to_sweep",
        }
        if "Index Cond" not in node and not bitmaps and not partial:
            found.append(f"{node['Node Type']} {node.get('Index Name')} on {node['Relation Name']}")
    return found + [line for child in node.get("Plans", []) for line in unkeyed(child)]


async def plan_of(connection: "asyncpg.Connection[asyncpg.Record]", text: str) -> dict[str, Any]:
    """Return the plan that is kept for all parameters."""
    count = len((await connection.prepare(text)).get_parameters())
    await connection.execute(f"PREPARE hot AS {text.rstrip(';')}")
    arguments = f" ({', '.join(['NULL'] * count)})" if count else ""
    rows = await connection.fetchval(f"EXPLAIN (FORMAT JSON) EXECUTE hot{arguments}")
    await connection.execute("DEALLOCATE hot")
    plan: dict[str, Any] = rows[0]["Plan"]
    return plan


@pytest.mark.parametrize("content", ["SELECT 1", FILL], ids=["empty", "filled"])
async def test_hot_statements_find_rows_by_key(database_url: str, content: str) -> None:
    connection = await connect(database_url, name="test")
    try:
        await connection.execute(content)
        await connection.execute("SET plan_cache_mode = force_generic_plan")

        found = {name: unkeyed(await plan_of(connection, queries(part)[name])) for part, name in HOT}

        assert {} == {name: scans for name, scans in found.items() if scans}
    finally:
        await connection.close()
