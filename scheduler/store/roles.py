"""What each actor may do in the database, and nothing else: a role of its own for each.

A migration makes the roles where it may and grants anew what they are to have. They cannot log in:
the operator lets a user of each actor be a member, or the roles log in themselves. An actor whose
user is a member takes its role; one whose user is not works as who it is, and says so.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import asyncpg
import structlog

from scheduler.roles import ACTOR_ROLES
from scheduler.store.pool import SCHEMA
from scheduler.store.row_security import secure_rows

if TYPE_CHECKING:
    from scheduler.store.pool import Connection

log: structlog.stdlib.BoundLogger = structlog.get_logger()

# Only who may update a column of a row may lock it: a right to lock is one on a column that does no harm.
GRANTS: Final[Mapping[str, Sequence[str]]] = {
    "ticker": (
        "SELECT, INSERT, UPDATE ON firings",
        "SELECT ON triggers, runs, calendars, calendar_versions",
        "UPDATE (last_at, next_at, fired, held_until, trouble, tzdata) ON triggers",
        "UPDATE ON runs",
        "INSERT ON events",
        "SELECT, UPDATE ON ticking",
        "SELECT, INSERT, UPDATE, DELETE ON tickers",
        "INSERT ON feed",
        "UPDATE (updated_at) ON jobs",
        "SELECT ON past_runs, past_attempts, history_days, retaining",
        "UPDATE (closed_at, archived_at) ON history_days",
        "UPDATE ON retaining",
        "INSERT ON audit",
        "EXECUTE ON FUNCTION drop_history_day(integer, date)",
        "EXECUTE ON FUNCTION move_flows(uuid, integer, interval, jsonb)",
        "EXECUTE ON FUNCTION forget_firings(uuid, integer, interval, boolean)",
        "EXECUTE ON FUNCTION take_back_firings(uuid[], timestamptz)",
        "EXECUTE ON FUNCTION forget_events(text, timestamptz, integer, interval, boolean)",
        "EXECUTE ON FUNCTION forget_backfills(interval)",
        "EXECUTE ON FUNCTION forget_audit(interval)",
    ),
    "dispatcher": (
        "SELECT, INSERT, UPDATE ON events, firings",
        "SELECT, INSERT, UPDATE, DELETE ON conditions, dispatchers, event_keys",
        "UPDATE (fired) ON triggers",
        "SELECT, INSERT ON flows, flow_joins",
        "SELECT, INSERT, UPDATE ON runs, run_edges",
        "SELECT, UPDATE ON backfills, backfill_instants",
        "SELECT ON triggers, executors, recorders",
        "SELECT, INSERT, UPDATE ON rates, tenant_starts",
        "SELECT, UPDATE ON circuits",
        "UPDATE (storage_bytes, revision) ON tenants",
        "EXECUTE ON FUNCTION stored_bytes(integer)",
        "UPDATE (updated_at) ON jobs",
        "INSERT, UPDATE (queue_limit, paused_at, created_at) ON pools",
        "SELECT, INSERT, UPDATE, DELETE ON messages_in_hand",
        "SELECT, INSERT, DELETE ON feed",
        "SELECT, UPDATE ON feeding",
        "SELECT (run_id, attempt, outcome, reason, exit_code, http_status, exception, elapsed_s, progress) ON attempts",
        "SELECT ON live_progress",
        "SELECT, UPDATE (retried_by) ON past_runs",
        "SELECT (run_id, attempt, outcome, reason, exit_code, http_status, exception, elapsed_s) ON past_attempts",
    ),
    "recorder": (
        "SELECT, UPDATE ON runs",
        "SELECT, INSERT, UPDATE ON attempts",
        "UPDATE (paused_at, pause_note, paused_by, updated_at) ON jobs",
        "INSERT ON audit",
        "UPDATE (active, held_until, held_as, last_at, next_at, fired) ON triggers",
        "SELECT ON triggers",
        "SELECT (id, trigger_id, fires_at, verdict), UPDATE (planned_at), DELETE ON firings",
        "UPDATE (revision) ON tenants",
        "SELECT, INSERT ON orphan_ends",
        "SELECT, INSERT, UPDATE ON circuits",
        "SELECT, INSERT, UPDATE, DELETE ON live_progress, live_output",
        "INSERT ON feed",
        "SELECT, INSERT, UPDATE, DELETE ON executors, recorders, messages_in_hand",
    ),
    "watcher": (
        "SELECT ON triggers",
        "SELECT, INSERT ON events",
        "SELECT, INSERT, UPDATE, DELETE ON watches, watched_files",
    ),
    # What people ask for over HTTP: what the commands do, by the same statements.
    "ingress": (
        "SELECT ON circuits",
        "SELECT ON attempts, executors, flows, flow_joins, rates, recorders, run_edges, runs, tickers, ticking",
        "SELECT ON live_output, live_progress, watches",
        "SELECT ON history_days, past_attempts, past_runs, retaining",
        "SELECT, INSERT, UPDATE ON backfills, calendars, jobs, pools, triggers",
        "SELECT, INSERT, UPDATE, DELETE ON firings",
        "SELECT, INSERT ON backfill_instants, calendar_versions, events, job_versions",
        "INSERT, UPDATE (name, revision) ON tenants",
        "SELECT, INSERT, UPDATE, DELETE ON webhooks, event_keys",
        "EXECUTE ON FUNCTION all_webhooks()",
        "UPDATE (tzdata) ON ticking",
        "UPDATE (drain_at, held) ON executors",
        "UPDATE (state, reason, cancel_reason, cancel_at, cancel_at_once, finished_at, lease_token, sweep_at) ON runs",
        "UPDATE (discarded_at) ON runs, past_runs",
        "SELECT, INSERT, UPDATE, DELETE ON idempotency_keys",
        "SELECT ON cursor_secret, feeding, revoked_tokens",
        "SELECT, INSERT ON feed, audit",
        "EXECUTE ON FUNCTION use_api_key(bytea)",
    ),
}
_EVERYBODY: Final = (
    f"USAGE ON SCHEMA {SCHEMA}",
    "SELECT ON migrations, tenants, pools, jobs, job_versions",
    "EXECUTE ON FUNCTION all_databases()",
)


async def grant_roles(connection: "Connection") -> None:
    """Make the roles where they are missing, and give them what they are to have; the caller owns the schema."""
    there = {row["rolname"] for row in await connection.fetch("SELECT rolname FROM pg_roles")}
    refused = [role for role in ACTOR_ROLES.values() if role not in there and not await _make(connection, role)]
    if refused:
        log.warning("roles.missing", roles=refused, reason="may not create them: every actor works as the one user")
    async with connection.transaction():
        for actor, role in ACTOR_ROLES.items():
            if role not in refused:
                await connection.execute(f"REVOKE ALL ON ALL TABLES IN SCHEMA {SCHEMA} FROM {role}")
                await connection.execute(f"REVOKE ALL ON ALL FUNCTIONS IN SCHEMA {SCHEMA} FROM {role}")
                for what in (*_EVERYBODY, *GRANTS[actor]):
                    await connection.execute(f"GRANT {what} TO {role}")
        await secure_rows(connection, refused)


def as_role(dsn: str, role: str) -> str:
    """Return ``dsn`` with ``role`` for the role that its connections take."""
    parts = urlsplit(dsn)
    return urlunsplit(parts._replace(query=urlencode({**dict(parse_qsl(parts.query)), "role": role})))


async def _make(connection: "Connection", role: str) -> bool:
    try:
        await connection.execute(f"CREATE ROLE {role} NOLOGIN")
        await connection.execute(f"GRANT {role} TO CURRENT_USER")
    except asyncpg.InsufficientPrivilegeError:
        return False
    except (asyncpg.DuplicateObjectError, asyncpg.UniqueViolationError):
        pass  # made at this moment for another database of the server
    return True
