"""The role that an actor works as, and whether it holds the actor to anything."""

from typing import TYPE_CHECKING, Final

import asyncpg
import structlog

from scheduler.errors import ConfigurationError, DatabaseUnavailableError
from scheduler.roles import ACTOR_ROLES
from scheduler.store.migrate import check_schema, is_migrated_now
from scheduler.store.pool import SCHEMA, connect, reachable, where
from scheduler.store.roles import as_role
from scheduler.store.stores import Store

if TYPE_CHECKING:
    from scheduler.store.pool import Connection

log: structlog.stdlib.BoundLogger = structlog.get_logger()

_WHO_AM_I = """
SELECT current_user AS name, rolsuper, rolbypassrls,
       EXISTS (SELECT FROM pg_namespace WHERE nspname = $1 AND pg_has_role(nspowner, 'USAGE')) AS owns
FROM pg_roles WHERE rolname = current_user
"""
_SET_IS_A_RIGHT: Final = 16
"""From this version of PostgreSQL on, to be a member is not yet to be allowed to act as the role."""


async def take_role(dsn: str, actor: str) -> str:
    """Return the DSN by which ``actor`` connects as its role; ``dsn`` itself where its user may not take it.

    Raises:
        DatabaseUnavailableError: no connection, or the roles may still be made: no schema yet, or a migration goes on.
    """
    connection = await connect(dsn, name=actor)
    try:
        async with reachable(dsn):
            allowed = await _may_take(connection, actor)
            if not allowed:  # who came before the migration did would work as the one user for ever
                if (wrong := await check_schema(connection)) is not None:
                    raise DatabaseUnavailableError(wrong)
                if await is_migrated_now(connection):
                    raise DatabaseUnavailableError("the database is being migrated")
                allowed = await _may_take(connection, actor)
    except asyncpg.InsufficientPrivilegeError as error:
        raise DatabaseUnavailableError(f"database at {where(dsn)} unavailable: {error}") from error
    finally:
        await connection.close()
    if not allowed:
        log.warning("role.not_taken", role=ACTOR_ROLES[actor], reason="the database's user is no member of it")
        return dsn
    return as_role(dsn, ACTOR_ROLES[actor])


async def _may_take(connection: "Connection", actor: str) -> bool:
    right = "SET" if connection.get_server_version().major >= _SET_IS_A_RIGHT else "MEMBER"
    role = "SELECT pg_has_role(oid, $2) FROM pg_roles WHERE rolname = $1"
    return bool(await connection.fetchval(role, ACTOR_ROLES[actor], right))


async def check_own_role(store: Store, *, allow_owner: bool) -> None:
    """Refuse to work as a superuser, with row security off, or as who owns the schema.

    ``allow_owner`` lets the last one pass, for a database that gives its tenant one user only.

    Raises:
        ConfigurationError: says which it is, and what to do.
        DatabaseUnavailableError: it cannot be asked.
    """
    async with store.connection() as db:
        me: asyncpg.Record | None = await db.fetchrow(_WHO_AM_I, SCHEMA)
    if me is None:
        return
    if me["rolsuper"] or me["rolbypassrls"]:
        what = "is a superuser" if me["rolsuper"] else "bypasses row security"
        raise ConfigurationError(f"database: {me['name']} {what}; make the roles of actors: scheduler db migrate")
    if me["owns"]:
        refusal = (
            f"database: {me['name']} owns the schema and may do anything in it; give the actor a user that is a member "
            "of its role (docs/operations.md), or set SCHEDULER_ONE_DATABASE_USER=true"
        )
        if not allow_owner:
            raise ConfigurationError(refusal)
        log.warning("safety.overridden", setting="one_database_user", reason=refusal)
