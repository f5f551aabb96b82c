"""Connections: an asyncpg pool with our codecs, and asyncpg's errors turned into ours.

JSON columns are pydantic-core JSON in both directions. A connection keeps its session settings
for life; nothing here sets state that a later user of the connection could see.
"""

import contextlib
import json
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import asyncpg
from pydantic_core import from_json, to_json

from scheduler.errors import DatabaseUnavailableError

SCHEMA: Final = "scheduler"
if TYPE_CHECKING:
    Connection = asyncpg.pool.PoolConnectionProxy[asyncpg.Record] | asyncpg.Connection[asyncpg.Record]

UNAVAILABLE: Final = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.TooManyConnectionsError,
    asyncpg.InsufficientResourcesError,
    asyncpg.DeadlockDetectedError,
    asyncpg.SerializationError,
    asyncpg.LockNotAvailableError,
    asyncpg.QueryCanceledError,
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.InvalidCatalogNameError,
)
"""What passes by itself: no connection, a server that restarts, a full disk, a lost lock."""

ENDED: Final = (
    ConnectionError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
)
"""What says that the session is over. asyncpg calls it an internal error when the server has said so to a connection
that nobody used, and its end has not come yet."""


_SESSION_ENDS: Final = ("FATAL", "PANIC")
"""Severities after which there is no session. An internal error of the server that is one of these is its own
trouble (a backend that cannot write its caches on a full disk); any other may be a bug that should be seen."""

_OF_THE_DATA: Final = ("21", "22", "23", "54")
"""SQLSTATE classes of errors that come from what was written, and would come again: cardinality, data,
constraints, limits. Every other error is the database's own trouble: nothing is thrown away for it."""


def unwell(error: BaseException) -> bool:
    """Return whether ``error`` is trouble of the database, not of the data: to be tried again."""
    sqlstate = getattr(error, "sqlstate", None) if isinstance(error, asyncpg.PostgresError) else None
    return sqlstate is None or not sqlstate.startswith(_OF_THE_DATA)


@contextlib.asynccontextmanager
async def reachable(dsn: str) -> AsyncIterator[None]:
    """Turn errors of an unwell database into DatabaseUnavailableError, naming the server, not the password."""
    try:
        yield
    except (*UNAVAILABLE, asyncpg.InternalServerError) as error:
        if not isinstance(error, UNAVAILABLE) and error.severity_en not in _SESSION_ENDS:
            raise
        text = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DatabaseUnavailableError(f"database at {where(dsn)} unavailable: {text}") from error


def where(dsn: str) -> str:
    """Return host, port and database of ``dsn`` for people, without user and password."""
    parts = urlsplit(dsn)
    host = parts.hostname or next(
        (v for k, _, v in (q.partition("=") for q in parts.query.split("&")) if k == "host"), ""
    )
    port = f":{parts.port}" if parts.port else ""
    return f"{host or 'local socket'}{port}{parts.path}"


async def _prepare(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    for name in ("json", "jsonb"):
        await connection.set_type_codec(name, schema="pg_catalog", encoder=_encode, decoder=_decode, format="text")


def _encode(value: Any) -> str:
    return to_json(value).decode()


def json_text(value: Any) -> str | None:
    """Return the JSON text of ``value`` for a ``text[]`` parameter that SQL casts to jsonb; None stays NULL.

    A ``jsonb[]`` parameter would not do: asyncpg reads a list among its values as one more dimension.
    """
    return None if value is None else _encode(value)


def _decode(text: str) -> Any:
    try:
        return from_json(text)
    except ValueError:  # deeper than pydantic-core's 200 levels: rare, and must still be readable
        return json.loads(text)


async def connect(dsn: str, *, name: str) -> "asyncpg.Connection[asyncpg.Record]":
    """Open one connection of our own, for LISTEN or one-shot commands.

    Raises:
        DatabaseUnavailableError: no connection within ten seconds.
    """
    async with reachable(dsn):
        connection = await asyncpg.connect(dsn, timeout=10, server_settings=_settings(name))
        await _prepare(connection)
        return connection


async def open_pool(dsn: str, *, name: str, size: int) -> "asyncpg.Pool[asyncpg.Record]":
    """Open a pool of up to ``size`` connections that show up as ``name`` in pg_stat_activity.

    Raises:
        DatabaseUnavailableError: no connection within ten seconds.
    """
    async with reachable(dsn), contextlib.AsyncExitStack() as undo:
        pool = await asyncpg.create_pool(
            dsn,
            # With a floor, asyncpg connects again by itself where a connection was lost, and logs tracebacks.
            min_size=0,
            max_size=size,
            timeout=10,
            command_timeout=60,
            init=_prepare,
            reset=_keep,
            max_inactive_connection_lifetime=0,
            server_settings=_settings(name),
        )
        undo.callback(pool.terminate)
        async with pool.acquire():
            undo.pop_all()
        return pool


async def _keep(_connection: object) -> None:
    """Skip asyncpg's reset query on release: nothing sets session state (it halves small queries)."""


def _settings(name: str) -> dict[str, str]:
    return {
        "application_name": f"scheduler/{name}"[:63],
        "search_path": SCHEMA,
        "timezone": "UTC",
        "lock_timeout": "20s",
        "idle_in_transaction_session_timeout": "60s",
        # Every hot statement finds a batch of rows by key. A plan that reads a table or a partial index
        # as a whole looks cheap while statistics are old, and they always are: a backlog comes and goes
        # within seconds. So nothing but nested loops over keys is left to the planner, a probe of an index
        # costs it next to nothing, and conditions that a partial index would fit hide in a CASE in the
        # SQL. Then the plan it keeps for all parameters is the right one, and planning each time is saved.
        "random_page_cost": "0.001",
        "enable_hashjoin": "off",
        "enable_mergejoin": "off",
        "enable_seqscan": "off",
        "enable_material": "off",
        "jit": "off",
    }
