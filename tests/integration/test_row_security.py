"""What PostgreSQL itself lets a role that works for one tenant at a time see and write."""

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import pytest
import pytest_asyncio

from scheduler.clock import SystemClock
from scheduler.embedded.postgres import PrivatePostgres
from scheduler.roles import ACTOR_ROLES, OF_ONE_TENANT
from scheduler.store.migrate import migrate
from scheduler.store.pool import connect
from scheduler.store.row_security import secure_rows
from tests.support.embedded import query
from tests.support.services_postgres import with_database

ROLES = sorted(ACTOR_ROLES[actor] for actor in OF_ONE_TENANT)
JOBS = """
INSERT INTO tenants (name) VALUES ('a'), ('b');
INSERT INTO jobs (id, tenant, name, version) SELECT gen_random_uuid(), t, 'job', 1 FROM unnest('{a,b}'::text[]) AS t;
INSERT INTO job_versions (job_id, version, tenant, spec) SELECT id, 1, tenant, '{}' FROM jobs;
INSERT INTO firings (id, tenant, kind, job_id, job_version, fires_at, wall_time, zone, verdict, decided_at)
    SELECT gen_random_uuid(), tenant, 'time', id, 1, now(), 'w', 'UTC', 'paused', now() FROM jobs;
INSERT INTO runs (id, tenant, job_id, job_version, job_name, flow_id, fired_at, state, pool, priority)
    SELECT gen_random_uuid(), tenant, id, 1, name, id, now(), 'ready', 'default', 2 FROM jobs;
INSERT INTO rates (tenant, job_id, next_at) SELECT tenant, id, now() FROM jobs;
"""
REFUSED = [
    "INSERT INTO events (id, tenant, source, topic, data) VALUES (gen_random_uuid(), 'a', 'x', 'x', '{}')",
    "INSERT INTO calendars (tenant, name, version) VALUES ('a', 'mine', 1)",
    "UPDATE jobs SET tenant = 'a'",
    "UPDATE firings SET tenant = 'a'",
    "INSERT INTO tenants (name) VALUES ('c')",
    "UPDATE tenants SET name = 'a'",
    "UPDATE tenants SET weight = 9",
    "UPDATE tenants SET max_jobs = NULL",
    "UPDATE tenants SET suspended_at = NULL",
    "TRUNCATE firings",
    "TRUNCATE runs CASCADE",
    "ALTER TABLE runs DISABLE ROW LEVEL SECURITY",
    "DROP POLICY tenant ON runs",
    "CREATE POLICY mine ON runs USING (true)",
    "CREATE VIEW scheduler.mine AS SELECT * FROM runs",
    "SET ROLE scheduler_ticker",
    "SET ROLE scheduler",
    "SET SESSION AUTHORIZATION scheduler",
    "SELECT stored_bytes(1)",
    "COPY runs TO '/tmp/runs'",
]


class Filled:
    """A database of a test's own, migrated and with JOBS, on a server whose users are the roles themselves."""

    def __init__(self, server: PrivatePostgres, name: str) -> None:
        self._server = server
        self._name = name

    @property
    def dsn(self) -> str:
        return with_database(self._server.dsn, self._name)

    def dsn_of(self, role: str) -> str:
        return with_database(self._server.dsn_of(role), self._name)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[PrivatePostgres]:
    """One for all tests here; its own database is what theirs are made from."""
    private = tmp_path_factory.mktemp("rows") / "private"
    private.mkdir(mode=0o700)
    made = PrivatePostgres(private / "state", SystemClock())
    await made.start()
    await migrate(made.dsn)
    async with opened(made.dsn) as owner:
        await owner.execute(JOBS)
    yield made
    await made.stop()


@pytest.fixture
async def filled(server: PrivatePostgres) -> AsyncIterator[Filled]:
    name, superuser = f"test_{uuid.uuid4().hex[:12]}", with_database(server.dsn_of("postgres"), "postgres")
    await query(superuser, f"CREATE DATABASE {name} TEMPLATE scheduler OWNER scheduler")
    yield Filled(server, name)
    await query(superuser, f"DROP DATABASE {name} WITH (FORCE)")


@asynccontextmanager
async def opened(dsn: str) -> "AsyncIterator[asyncpg.Connection[asyncpg.Record]]":
    link = await connect(dsn, name="test")
    try:
        yield link
    finally:
        await link.close()


@asynccontextmanager
async def acting_for(server: Filled, tenant: str) -> "AsyncIterator[asyncpg.Connection[asyncpg.Record]]":
    """A connection as the role, in a transaction of ``tenant``."""
    async with opened(server.dsn_of(ROLES[0])) as link, link.transaction():
        await link.execute("SELECT set_config('app.tenant', $1, true)", tenant)
        yield link


async def test_every_table_of_tenants_is_covered_and_forced(filled: Filled) -> None:
    """A table with a column ``tenant`` that a migration forgets to name is found all the same."""
    async with opened(filled.dsn) as owner:
        await owner.execute("CREATE TABLE forgotten (tenant text NOT NULL, words text)")
        await secure_rows(owner, ())
        rows = await owner.fetch(
            """SELECT c.relname AS name, c.relrowsecurity AND c.relforcerowsecurity AS forced,
                      array(SELECT p.policyname::text || ' ' || array_to_string(p.roles, '+') FROM pg_policies AS p
                            WHERE p.tablename = c.relname AND p.schemaname = 'scheduler' ORDER BY 1) AS policies
               FROM pg_class AS c JOIN pg_attribute AS a ON a.attrelid = c.oid
               WHERE c.relnamespace = 'scheduler'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
                 AND (a.attname = 'tenant' OR c.relname = 'tenants') AND NOT a.attisdropped
               GROUP BY c.oid"""
        )
    engine = "+".join(sorted(role for role in ACTOR_ROLES.values() if role not in ROLES))
    wanted = [f"engine {engine}", "owner scheduler", f"tenant {'+'.join(ROLES)}"]
    assert {"forgotten", "runs", "tenants", "rates"} <= {row["name"] for row in rows}
    assert [] == [dict(row) for row in rows if not row["forced"] or row["policies"] != wanted]


async def test_what_is_as_it_should_be_is_not_touched_by_the_next_migration(filled: Filled) -> None:
    """ALTER TABLE and CREATE POLICY lock out everybody: an engine at work holds its tables meanwhile."""
    async with opened(filled.dsn) as busy, busy.transaction():
        await busy.execute("LOCK TABLE runs, firings, jobs, tenants IN ROW EXCLUSIVE MODE")
        async with opened(filled.dsn) as owner:
            await owner.execute("SET lock_timeout = '500ms'")
            await secure_rows(owner, ())


@pytest.mark.parametrize("table", ["tenants", "jobs", "job_versions", "firings", "runs", "rates"])
async def test_a_tenant_sees_its_rows_and_no_others(filled: Filled, table: str) -> None:
    async with acting_for(filled, "b") as link:
        assert 1 == await link.fetchval(f"SELECT count(*) FROM {table}")
    async with opened(filled.dsn_of(ROLES[0])) as link:
        assert 0 == await link.fetchval(f"SELECT count(*) FROM {table}")
        async with link.transaction():
            await link.execute("SELECT set_config('app.tenant', 'b', true)")
        assert 0 == await link.fetchval(f"SELECT count(*) FROM {table}")
    async with opened(filled.dsn_of("scheduler_dispatcher")) as engine:
        if await engine.fetchval("SELECT has_table_privilege($1, 'SELECT')", table):
            assert 2 == await engine.fetchval(f"SELECT count(*) FROM {table}")
    async with opened(filled.dsn) as owner:
        assert 2 == await owner.fetchval(f"SELECT count(*) FROM {table}")


@pytest.mark.parametrize("statement", REFUSED)
async def test_a_tenant_is_refused(filled: Filled, statement: str) -> None:
    async with acting_for(filled, "b") as link:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await link.execute(statement)


async def test_a_tenant_changes_nothing_of_another_by_its_id(filled: Filled) -> None:
    async with opened(filled.dsn) as owner:
        run, job = await owner.fetchval("SELECT (id, job_id) FROM runs WHERE tenant = 'a'")
    async with acting_for(filled, "b") as link:
        for statement, row in (
            ("UPDATE runs SET state = 'cancelled', finished_at = now() WHERE id = $1", run),
            ("UPDATE jobs SET enabled = false WHERE id = $1", job),
            ("DELETE FROM firings WHERE job_id = $1", job),
        ):
            assert (await link.execute(statement, row)).endswith(" 0")


async def test_tenants_may_have_jobs_of_one_name(filled: Filled) -> None:
    async with acting_for(filled, "b") as link:
        await link.execute("INSERT INTO jobs (id, tenant, name, version) VALUES (gen_random_uuid(), 'b', 'other', 1)")
    async with acting_for(filled, "a") as link:
        await link.execute("INSERT INTO jobs (id, tenant, name, version) VALUES (gen_random_uuid(), 'a', 'other', 1)")


async def test_the_policy_leaves_an_index_on_the_tenant_of_use(filled: Filled) -> None:
    async with acting_for(filled, "b") as link:
        [plan] = await link.fetchval("EXPLAIN (FORMAT JSON) SELECT * FROM jobs")
    assert "Index Scan" == plan["Plan"]["Node Type"]
    assert plan["Plan"]["Index Cond"].startswith("(tenant = ")


async def test_plans_of_the_engine_have_no_trace_of_a_policy(filled: Filled) -> None:
    async with opened(filled.dsn_of("scheduler_dispatcher")) as link:
        plan = "\n".join(
            row[0]
            for row in await link.fetch("EXPLAIN SELECT * FROM runs WHERE id = '018f0000-0000-7000-8000-000000000001'")
        )
        assert ("Index Cond" in plan, "Filter" in plan, "InitPlan" in plan) == (True, False, False)
