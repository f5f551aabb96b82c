"""Whether the role that an actor works as holds it to anything."""

from typing import TYPE_CHECKING

import structlog

from scheduler.errors import ConfigurationError
from scheduler.store.pool import SCHEMA
from scheduler.store.stores import Store

if TYPE_CHECKING:
    import asyncpg

log: structlog.stdlib.BoundLogger = structlog.get_logger()

_WHO_AM_I = """
SELECT current_user AS name, rolsuper, rolbypassrls,
       EXISTS (SELECT FROM pg_namespace WHERE nspname = $1 AND pg_has_role(nspowner, 'USAGE')) AS owns
FROM pg_roles WHERE rolname = current_user
"""


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
