"""Each actor may do in the database what it needs, and is refused everything else."""

import asyncpg
import pytest
from structlog.testing import capture_logs

from scheduler.embedded.postgres import PrivatePostgres
from scheduler.errors import DatabaseUnavailableError
from scheduler.roles import ACTOR_ROLES
from scheduler.store.migrate import LOCK_KEY, migrate
from scheduler.store.own_role import take_role
from scheduler.store.roles import GRANTS, as_role
from tests.support.embedded import query

TRIES = {
    "ticker": [
        "INSERT INTO runs (id) VALUES (gen_random_uuid())",
        "DELETE FROM firings",
        "UPDATE triggers SET spec = '{}'",
        "UPDATE triggers SET enabled = true",
        "UPDATE jobs SET enabled = true",
        "SELECT output_tail FROM attempts",
        "SELECT data FROM events",
    ],
    "dispatcher": [
        "DELETE FROM firings",
        "UPDATE triggers SET next_at = now()",
        "DELETE FROM runs",
        "UPDATE jobs SET enabled = false",
        "INSERT INTO job_versions (version) VALUES (1)",
        "INSERT INTO executors (boot_id) VALUES (gen_random_uuid())",
        "SELECT output_tail FROM attempts",
        "UPDATE recorders SET read_through = now()",
    ],
    "recorder": [
        "INSERT INTO runs (id) VALUES (gen_random_uuid())",
        "DELETE FROM attempts",
        "DELETE FROM orphan_ends",
        "SELECT params FROM firings",
        "UPDATE firings SET verdict = 'started'",
        "UPDATE jobs SET enabled = false, resumed_at = now()",
        "UPDATE triggers SET spec = '{}'",
        "INSERT INTO flows (id) VALUES (gen_random_uuid())",
        "UPDATE run_edges SET state = 'met'",
    ],
    "watcher": [
        "SELECT spec FROM webhooks",
        "UPDATE events SET verdict = 'started'",
        "DELETE FROM events",
        "UPDATE triggers SET spec = '{}'",
        "UPDATE jobs SET enabled = false",
        "SELECT params FROM firings",
        "SELECT output_tail FROM attempts",
        "INSERT INTO runs (id) VALUES (gen_random_uuid())",
    ],
    "ingress": [
        "SELECT digest FROM api_keys",
        "INSERT INTO api_keys (id) VALUES (gen_random_uuid())",
        "UPDATE api_keys SET revoked_at = NULL",
        "UPDATE cursor_secret SET secret = ''",
        "INSERT INTO runs (id) VALUES (gen_random_uuid())",
        "UPDATE runs SET owner = NULL",
        "DELETE FROM runs",
        "DELETE FROM jobs",
        "UPDATE job_versions SET spec = '{}'",
        "INSERT INTO attempts (run_id) VALUES (gen_random_uuid())",
        "UPDATE executors SET stopped_at = now()",
        "DELETE FROM events",
    ],
}
NOBODY = [
    "UPDATE migrations SET checksum = ''",
    "UPDATE tenants SET paused_at = now()",
    "TRUNCATE runs",
    "DROP TABLE runs",
    "ALTER TABLE runs DISABLE TRIGGER ALL",
    "CREATE TABLE scheduler.mine (n int)",
    "CREATE TABLE public.mine (n int)",
    "CREATE SCHEMA mine",
    "CREATE ROLE mine",
    "COPY jobs TO '/tmp/jobs'",
    "SELECT pg_read_file('/etc/hostname')",
]


async def migrated(server: PrivatePostgres) -> PrivatePostgres:
    await migrate(server.dsn)
    return server


@pytest.mark.parametrize("actor", ACTOR_ROLES)
async def test_an_actor_is_refused_what_is_not_its_business(private_postgres: PrivatePostgres, actor: str) -> None:
    server = await migrated(private_postgres)
    link = await asyncpg.connect(server.dsn_of(ACTOR_ROLES[actor]), server_settings={"search_path": "scheduler"})
    others = [role for role in (*ACTOR_ROLES.values(), "scheduler", "postgres") if role != ACTOR_ROLES[actor]]
    try:
        assert ACTOR_ROLES[actor] == await link.fetchval("SELECT session_user")
        assert 0 == await link.fetchval("SELECT count(*) FROM triggers")
        for statement in [*TRIES[actor], *NOBODY, *(f"SET ROLE {role}" for role in others), "CREATE TEMP TABLE t ()"]:
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                assert None is await link.execute(statement), statement
    finally:
        await link.close()


async def test_a_right_that_was_given_by_hand_is_gone_after_the_next_migration(
    private_postgres: PrivatePostgres,
) -> None:
    server = await migrated(private_postgres)
    await query(server.dsn, "GRANT DELETE ON scheduler.runs TO scheduler_ticker")

    await migrate(server.dsn)

    rights = "SELECT string_agg(privilege_type, ' ' ORDER BY privilege_type) FROM information_schema.table_privileges"
    rights += " WHERE grantee = 'scheduler_ticker' AND table_name = 'runs'"
    assert "SELECT UPDATE" == await query(server.dsn, rights)
    assert set(GRANTS) == set(ACTOR_ROLES)


async def test_an_actor_takes_its_role_where_its_user_is_a_member(database_url: str) -> None:
    taken = await take_role(database_url, "ticker")

    assert as_role(database_url, "scheduler_ticker") == taken
    assert "scheduler_ticker" == await query(taken, "SELECT current_user::text")


async def test_without_the_right_to_make_roles_everybody_works_as_the_one_user(
    private_postgres: PrivatePostgres,
) -> None:
    """As with a database somebody else runs: the schema is made, one line says what is missing, actors work."""
    superuser = private_postgres.dsn_of("postgres")
    for role in ACTOR_ROLES.values():
        await query(superuser, f"DROP OWNED BY {role}")
        await query(superuser, f"DROP ROLE {role}")

    with capture_logs() as said:
        await migrate(private_postgres.dsn)
        assert private_postgres.dsn == await take_role(private_postgres.dsn, "ticker")

    assert ["roles.missing", "role.not_taken"] == [line["event"] for line in said]
    assert list(ACTOR_ROLES.values()) == said[0]["roles"]
    assert 0 == await query(private_postgres.dsn, "SELECT count(*) FROM scheduler.runs")


async def test_an_actor_that_comes_before_the_migration_waits_for_its_role(private_postgres: PrivatePostgres) -> None:
    """Else it would work as the one user, or refuse to, because it came a moment too early."""
    superuser = private_postgres.dsn_of("postgres")
    for role in ACTOR_ROLES.values():
        await query(superuser, f"DROP OWNED BY {role}")
        await query(superuser, f"DROP ROLE {role}")

    with pytest.raises(DatabaseUnavailableError, match="the database has no schema"):
        await take_role(private_postgres.dsn, "ticker")
    await migrate(private_postgres.dsn)
    link = await asyncpg.connect(private_postgres.dsn)
    try:  # the schema is current, the roles come next
        await link.execute("SELECT pg_advisory_lock($1)", LOCK_KEY)
        with pytest.raises(DatabaseUnavailableError, match="is being migrated"):
            await take_role(private_postgres.dsn, "ticker")
    finally:
        await link.close()
    await migrate(superuser)
    await query(superuser, "GRANT scheduler_ticker TO scheduler")
    assert as_role(private_postgres.dsn, "scheduler_ticker") == await take_role(private_postgres.dsn, "ticker")


async def test_an_actor_waits_for_its_right_to_see_the_schema(private_postgres: PrivatePostgres) -> None:
    await migrate(private_postgres.dsn)
    superuser = private_postgres.dsn_of("postgres")
    await query(superuser, "REVOKE scheduler_ticker FROM scheduler")
    await query(superuser, "ALTER SCHEMA scheduler OWNER TO postgres")

    with pytest.raises(DatabaseUnavailableError, match="permission denied for schema scheduler"):
        await take_role(private_postgres.dsn, "ticker")


async def test_a_user_who_may_make_roles_makes_them_and_is_a_member(private_postgres: PrivatePostgres) -> None:
    superuser = private_postgres.dsn_of("postgres")
    for role in ACTOR_ROLES.values():
        await query(superuser, f"DROP OWNED BY {role}")
        await query(superuser, f"DROP ROLE {role}")
    await query(superuser, "ALTER ROLE scheduler CREATEROLE")

    await migrate(private_postgres.dsn)

    for actor, role in ACTOR_ROLES.items():
        assert as_role(private_postgres.dsn, role) == await take_role(private_postgres.dsn, actor)
        assert False is await query(private_postgres.dsn, f"SELECT rolcanlogin FROM pg_roles WHERE rolname = '{role}'")
