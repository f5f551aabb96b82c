"""Brings a database to the newest schema: numbered SQL files, one lock, checksums.

Each file of ``migrations/`` is applied once, in its own transaction, under an advisory lock, so
that many processes may start at the same moment. A file that was changed after it was applied
is an error: write a new one.
"""

import hashlib
from dataclasses import dataclass
from importlib.resources import files
from typing import TYPE_CHECKING, Final

import asyncpg

from scheduler.errors import ConfigurationError
from scheduler.store.pool import SCHEMA, reachable
from scheduler.store.roles import grant_roles

if TYPE_CHECKING:
    from scheduler.store.pool import Connection

LOCK_KEY: Final = 0x5C4ED01E
"""Any constant: names our migration lock among the advisory locks of the database."""

_BOOK: Final = f"""
CREATE SCHEMA IF NOT EXISTS {SCHEMA};
CREATE TABLE IF NOT EXISTS {SCHEMA}.migrations (
    version integer PRIMARY KEY, name text NOT NULL, checksum text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now());
"""


@dataclass(frozen=True, slots=True)
class Migration:
    version: int
    name: str
    sql: str

    @property
    def checksum(self) -> str:
        return hashlib.sha256(self.sql.encode()).hexdigest()


def migrations() -> list[Migration]:
    """Return the migrations this program brings, in order."""
    found = [
        Migration(int(entry.name[:4]), entry.name.removesuffix(".sql"), entry.read_text(encoding="utf-8"))
        for entry in (files("scheduler.store") / "migrations").iterdir()
        if entry.name.endswith(".sql")
    ]
    return sorted(found, key=lambda migration: migration.version)


async def migrate(dsn: str) -> list[str]:
    """Apply what is missing and return the names applied; [] when the schema is current.

    The roles of the actors get their rights each time, so that roles made since then have them too.

    Raises:
        DatabaseUnavailableError: no connection.
        ConfigurationError: an applied migration differs from its file, or the database is newer.
    """
    async with reachable(dsn):
        connection = await asyncpg.connect(dsn, server_settings={"search_path": SCHEMA})
    try:
        await connection.execute("SELECT pg_advisory_lock($1)", LOCK_KEY)
        await connection.execute(_BOOK)
        done = await _applied(connection)
        applied = [migration.name for migration in migrations() if await _apply(connection, migration, done)]
        await grant_roles(connection)
        return applied
    finally:
        await connection.close()


async def is_migrated_now(connection: "Connection") -> bool:
    """Return whether somebody applies migrations, or gives the roles their rights, which comes last."""
    return not await connection.fetchval("SELECT pg_try_advisory_xact_lock_shared($1)", LOCK_KEY)


async def check_schema(connection: "Connection") -> str | None:
    """Return what is wrong with the schema in one line, or None when it is current."""
    known = {migration.version: migration for migration in migrations()}
    try:
        done = await _applied(connection)
    except asyncpg.UndefinedTableError:
        return "the database has no schema: run `scheduler db migrate`"
    if missing := sorted(known.keys() - done.keys()):
        return f"the database lacks migration {missing[0]:04d}: run `scheduler db migrate`"
    if newer := sorted(done.keys() - known.keys()):
        return f"the database has migration {newer[-1]:04d}, which this program does not know: it is newer"
    return None


async def _applied(connection: "Connection") -> dict[int, str]:
    rows = await connection.fetch(f"SELECT version, checksum FROM {SCHEMA}.migrations")  # noqa: S608
    return {row["version"]: row["checksum"] for row in rows}


async def _apply(connection: "asyncpg.Connection[asyncpg.Record]", migration: Migration, done: dict[int, str]) -> bool:
    checksum = done.get(migration.version)
    if checksum == migration.checksum:
        return False
    if checksum is not None:
        raise ConfigurationError(f"migration {migration.name} was changed after it was applied to this database")
    async with connection.transaction():
        await connection.execute(migration.sql)
        await connection.execute(
            f"INSERT INTO {SCHEMA}.migrations (version, name, checksum) VALUES ($1, $2, $3)",  # noqa: S608
            migration.version,
            migration.name,
            migration.checksum,
        )
    return True
