"""Gives tenants databases of their own: founds a new tenant there, or moves one out of the main database.

A move copies rows, and rows are all there is: what waits, what is owed and what the past was. Only what
an executor holds is more than a row, so the tenant is suspended and that is waited for.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any, Final

import asyncpg

from scheduler.clock import Clock
from scheduler.domain.audit import AuditAction, AuditKind
from scheduler.errors import ConflictError, DatabaseUnavailableError, NotFoundError
from scheduler.store.audit import Change, record_changes
from scheduler.store.doorbell import DEFINITIONS
from scheduler.store.migrate import migrate
from scheduler.store.pool import connect, unwell
from scheduler.store.queries import queries
from scheduler.store.registry import Home, list_homes, open_apart, register_home
from scheduler.store.stores import Store
from scheduler.store.tenants import Terms, activate_tenant, create_tenant, suspend_tenant

if TYPE_CHECKING:
    from scheduler.store.pool import Connection

Q: Final = queries("moving")
_TENANTS: Final = queries("tenants")
_RING: Final = queries("definitions")["ring"]
_STAYS: Final = ["tenants", "feed", "api_keys", "audit"]
"""Who the tenant is stays known to the main store, and so do its keys, and who did what as long as it was there. A
feed is ordered by transactions of its database: what is not published yet is published by the old one."""
_LOOK_S: Final = 0.2
_AHEAD: Final = 16
_COMMAND_S: Final = 6 * 3600.0


@dataclass(frozen=True, slots=True)
class Place:
    """Where a tenant's own database is: the reference that is registered, and the DSN it leads to here."""

    reference: str
    dsn: str = field(repr=False)
    broker: str | None = None
    """Where the URL of a vhost of its own is found; None: it has none."""


async def found_tenant(main: Store, name: str, terms: Terms, place: Place) -> None:
    """Make a tenant in a database of its own, whose schema is brought up to date.

    Raises:
        ConflictError: the tenant is there already.
        DatabaseUnavailableError: no connection; nothing is made.
    """
    await migrate(place.dsn)
    apart = await open_apart(name, place.dsn, name="cli", size=1)
    try:
        await create_tenant(main, name, terms)
        with contextlib.suppress(ConflictError):  # an earlier try has come so far
            await create_tenant(apart.acting(main.by), name, terms)
    finally:
        await apart.close()
    await register_home(main, name, Home(place.reference, place.broker))


async def move_tenant(main: Store, name: str, place: Place, *, drain_s: float, clock: Clock) -> dict[str, int]:
    """Move a tenant from the main database to its own; return how many rows of each table.

    It is suspended meanwhile, and in the end as it was before. Either all is moved, or nothing.

    Raises:
        NotFoundError: there is no such tenant.
        ConflictError: it has its own already, an executor holds runs of it for longer than ``drain_s``, or the
            other database has rows of it.
        DatabaseUnavailableError: one of the two went away, or rows changed under the move: try again.
    """
    async with main.connection() as db:
        row = await db.fetchrow(_TENANTS["get_tenant"], name)
    if row is None:
        raise NotFoundError(f"there is no tenant {name}")
    if row["database"] is not None:
        raise ConflictError(f"tenant {name} has a database of its own already: {row['database']}")
    await migrate(place.dsn)
    apart = await open_apart(name, place.dsn, name="cli", size=1)
    try:
        suspended = await suspend_tenant(main, name, note="is being moved", clock=clock)
        try:
            await _drain(main, name, drain_s, clock)
            moved = await _move(main, name, place, Terms(**{term.name: row[term.name] for term in fields(Terms)}))
        except BaseException:
            if suspended.changed:
                await activate_tenant(main, name, clock=clock)
            raise
        if suspended.changed:
            await activate_tenant(apart.acting(main.by), name, clock=clock)
        return moved
    finally:
        await apart.close()


async def move_broker(main: Store, apart: Store, broker: str | None) -> None:
    """Have the tenant of ``apart`` work in the vhost whose URL is found at ``broker``; None: at the broker of all.

    Raises:
        ConflictError: it is not suspended, or an executor holds runs of it, whose ends nobody would hear.
        NotFoundError: ``main`` has no such tenant.
    """
    async with apart.transaction() as db:
        row = await db.fetchrow(_TENANTS["lock_tenant"], apart.name)
        [held] = await db.fetch(_TENANTS["count_held"], apart.name)
        if row is None or row["suspended_at"] is None:
            raise ConflictError(f"tenant {apart.name} changes its broker only while it is suspended")
        if held["out"]:
            raise ConflictError(f"executors hold {held['out']} runs of it: wait for them, or cancel them")
        home = (await list_homes(main))[apart.name]
        await register_home(main, apart.name, Home(home.database, broker))


async def _drain(main: Store, name: str, drain_s: float, clock: Clock) -> None:
    """Wait until no executor holds a run of the tenant."""
    deadline = clock.monotonic() + drain_s
    while True:
        async with main.connection() as db:
            [held] = await db.fetch(_TENANTS["count_held"], name)
        if not held["out"]:
            return
        if clock.monotonic() >= deadline:
            raise ConflictError(f"tenant {name}: executors hold {held['out']} runs: wait for them, or cancel them")
        await clock.sleep(_LOOK_S)


async def _move(main: Store, name: str, place: Place, terms: Terms) -> dict[str, int]:
    """Copy, compare, delete and register: in one transaction of each database, the new one committed first."""
    source = await connect(main.dsn, name="move")
    target = await connect(place.dsn, name="move")
    try:
        async with source.transaction(isolation="repeatable_read"), target.transaction():
            moved = await _move_rows(source, target, name, terms)
            await source.execute(Q["register"], name, place.reference)
            done = Change(AuditAction.MOVE, AuditKind.TENANT, name, after={"database": place.reference})
            await record_changes(source, main.by, name, [done])
            await source.execute(_RING, DEFINITIONS, name)
    except asyncpg.PostgresError as error:
        if unwell(error):
            raise DatabaseUnavailableError(f"tenant {name} was not moved: {error}; try again") from error
        raise
    finally:
        await source.close()
        await target.close()
    return moved


async def _move_rows(source: "Connection", target: "Connection", name: str, terms: Terms) -> dict[str, int]:
    await source.execute(_TENANTS["lock_tenant"], name)
    await target.execute(Q["insert_suspended"], name, *asdict(terms).values())
    moved: dict[str, int] = {}
    for day in await source.fetch(Q["list_days"], name):
        await target.execute(Q["make_day"], day["class"], day["day"])
        await target.execute(Q["note_day"], *day.values())
    tables = ordered(await source.fetch(Q["list_tables"], _STAYS), await source.fetch(Q["list_references"]))
    for table, columns in tables:
        if await target.fetchval(f"SELECT EXISTS (SELECT FROM {table} WHERE tenant = $1)", name):  # noqa: S608
            raise ConflictError(f"the other database has rows of tenant {name} in {table}: give an empty one")
        listed = ", ".join(f'"{column}"' for column in columns)
        query = f"SELECT {listed} FROM {table} WHERE tenant = $1"  # noqa: S608 - names of ours
        await _copy(source, target, query, name, table, columns)
        counting = f"SELECT count(*) FROM {table} WHERE tenant = $1"  # noqa: S608
        there, here = await source.fetchval(counting, name), await target.fetchval(counting, name)
        if there != here:
            raise ConflictError(f"{table}: {there} rows were to be copied, {here} have come")
        moved[table] = here
    for table, _ in reversed(tables):
        await source.execute(f"DELETE FROM {table} WHERE tenant = $1", name)  # noqa: S608
    return moved


def ordered(tables: Sequence[Any], references: Sequence[Any]) -> list[tuple[str, list[str]]]:
    """Return tables with their columns, each after those that it refers to."""
    names = {row["name"] for row in tables}
    needs = {
        name: {ref["to_table"] for ref in references if ref["from_table"] == name} & names - {name} for name in names
    }
    left = sorted(tables, key=lambda row: row["name"])
    found: list[tuple[str, list[str]]] = []
    while left:
        done = {name for name, _ in found}
        free = [row for row in left if needs[row["name"]] <= done]
        if not free:
            raise ConflictError(f"tables refer to one another: {', '.join(row['name'] for row in left)}")
        found += [(row["name"], row["columns"]) for row in free]
        left = [row for row in left if row not in free]
    return found


async def _copy(
    source: "Connection", target: "Connection", query: str, name: str, table: str, columns: Sequence[str]
) -> None:
    """Stream the rows of ``query`` from one database into a table of the other."""
    pieces: asyncio.Queue[bytes | None] = asyncio.Queue(_AHEAD)

    async def read() -> None:
        try:
            await source.copy_from_query(query, name, output=pieces.put, format="binary", timeout=_COMMAND_S)
        finally:
            await pieces.put(None)

    async def arriving() -> AsyncIterator[bytes]:
        while (piece := await pieces.get()) is not None:
            yield piece

    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(read())
            group.create_task(
                target.copy_to_table(
                    table, source=arriving(), columns=list(columns), format="binary", timeout=_COMMAND_S
                )
            )
    except* asyncpg.PostgresError as errors:
        raise errors.exceptions[0] from None
