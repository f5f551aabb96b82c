"""Row level security: which rows of a table each role sees, over every table that belongs to tenants.

It is forced, so that it holds for the owner too, who has a policy of its own, as the engine's roles have:
they work for all tenants, and what they may do with a row is a matter of grants. A role of OF_ONE_TENANT
sees and writes the rows of the tenant that its transaction has set, and without one, none. A migration
brings every table up to that, also one that it has just made; what is as it should be is not locked.
A partition is read through its table, whose policies hold then; nobody has a right to it itself.
"""

from collections.abc import Collection
from typing import TYPE_CHECKING, Final

from scheduler.roles import ACTOR_ROLES, OF_ONE_TENANT
from scheduler.store.pool import SCHEMA

if TYPE_CHECKING:
    from scheduler.store.pool import Connection

# A function within a SELECT is asked once for a statement, and an index on the tenant stays of use.
_OF_TENANT: Final = "tenant = (SELECT current_tenant())"
_OF_OTHERS: Final = {
    "tenants": "name = (SELECT current_tenant())",
}
"""Tables whose rows belong to a tenant that another column names."""

TABLES: Final = f"""
SELECT c.relname AS name, quote_ident(pg_get_userbyid(c.relowner)) AS owner,
       c.relrowsecurity AND c.relforcerowsecurity AS is_forced
FROM pg_class AS c
WHERE c.relnamespace = '{SCHEMA}'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
  AND (c.relname = ANY ($1::text[])
       OR EXISTS (SELECT FROM pg_attribute AS a
                  WHERE a.attrelid = c.oid AND a.attname = 'tenant' AND NOT a.attisdropped))
ORDER BY c.relname
"""  # noqa: S608 - a name of ours
_POLICIES: Final = f"""
SELECT tablename, policyname, array(SELECT quote_ident(role) FROM unnest(roles) AS role ORDER BY 1) AS roles
FROM pg_policies WHERE schemaname = '{SCHEMA}'
"""  # noqa: S608 - a name of ours


async def secure_rows(connection: "Connection", missing: Collection[str]) -> None:
    """Bring every table of tenants up to its policies; ``missing`` are roles that are not there."""
    roles = {actor: role for actor, role in ACTOR_ROLES.items() if role not in missing}
    engine = sorted(role for actor, role in roles.items() if actor not in OF_ONE_TENANT)
    single = sorted(role for actor, role in roles.items() if actor in OF_ONE_TENANT)
    there = {(row["tablename"], row["policyname"]): row["roles"] for row in await connection.fetch(_POLICIES)}
    for table, owner, is_forced in await connection.fetch(TABLES, list(_OF_OTHERS)):
        if not is_forced:
            for word in ("ENABLE", "FORCE"):
                await connection.execute(f"ALTER TABLE {SCHEMA}.{table} {word} ROW LEVEL SECURITY")
        rule = _OF_OTHERS.get(table, _OF_TENANT)
        for policy, whom, what in (("owner", [owner], "true"), ("engine", engine, "true"), ("tenant", single, rule)):
            held = there.get((table, policy))
            if whom and held is None:
                where = f"{policy} ON {SCHEMA}.{table} TO {', '.join(whom)}"
                await connection.execute(f"CREATE POLICY {where} USING ({what}) WITH CHECK ({what})")
            elif whom and held != whom:
                await connection.execute(f"ALTER POLICY {policy} ON {SCHEMA}.{table} TO {', '.join(whom)}")
