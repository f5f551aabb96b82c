"""What ``scheduler doctor`` looks at in the database and the broker; changes nothing there."""

from datetime import timedelta
from typing import TYPE_CHECKING, Final

import asyncpg

from scheduler.cli.findings import Finding, fail, ok, warn

if TYPE_CHECKING:
    from pydantic import SecretStr

    from scheduler.clock import Clock
    from scheduler.config import Settings
    from scheduler.store.pool import Connection

_OLDEST_POSTGRES: Final = 15
_OLDEST_RABBITMQ: Final = (3, 10)
_OFF: Final = timedelta(seconds=1)
_FAR_OFF: Final = timedelta(seconds=30)
"""As long as a lease: firings and leases are then judged by two different times."""
_MOST_NAMED: Final = 3


async def look_at_database(settings: "Settings", clock: "Clock") -> tuple[list[Finding], dict[str, int] | None]:
    """Return what is found, and the pools; None: they cannot be read."""
    from scheduler.client.opening import find_database
    from scheduler.errors import ConfigurationError, SchedulerError
    from scheduler.store.pool import connect

    try:
        dsn = find_database(settings)
    except ConfigurationError as error:
        refused, _, advice = str(error).partition(": ")
        return [fail("database", refused, advice)], None
    except SchedulerError as error:
        advice = "start `scheduler up`, or set DATABASE_URL"
        return [warn("database", str(error).partition(";")[0], advice)], None
    try:
        connection = await connect(dsn, name="doctor")
        try:
            return await _database(connection, clock)
        finally:
            await connection.close()
    except (SchedulerError, asyncpg.PostgresError) as error:  # no server, a wrong password, no rights
        return [fail("database", str(error), "check DATABASE_URL, the server and the rights of the user")], None


async def _database(db: "Connection", clock: "Clock") -> tuple[list[Finding], dict[str, int] | None]:
    from scheduler.store.migrate import check_schema
    from scheduler.store.pool import SCHEMA

    found = f"PostgreSQL {await db.fetchval('SHOW server_version')}"
    findings = [ok("database", found)]
    if int(await db.fetchval("SHOW server_version_num")) < _OLDEST_POSTGRES * 10_000:
        findings = [warn("database", found, f"tested with PostgreSQL {_OLDEST_POSTGRES} and newer: upgrade")]
    findings.append(await _clock(db, clock))
    if (wrong := await check_schema(db)) is not None:
        problem, _, advice = wrong.partition(": ")
        findings.append(fail("schema", problem, advice))
        return findings, None
    latest = await db.fetchval(f"SELECT name FROM {SCHEMA}.migrations ORDER BY version DESC LIMIT 1")  # noqa: S608
    findings.append(ok("schema", f"current: {latest}"))
    findings.append(await _retention(db))
    rows = await db.fetch(f"SELECT name, queue_limit FROM {SCHEMA}.pools")  # noqa: S608
    return findings, {row["name"]: row["queue_limit"] for row in rows}


async def _retention(db: "Connection") -> Finding:
    """Say when history was last worked on, and what that removed."""
    from scheduler.store.retaining import describe, last_pass

    row = await last_pass(db)
    if row["trouble"]:
        return fail("retention", row["trouble"], "put it right, then: scheduler retention run")
    if row["finished_at"] is None:
        when = (
            "no Ticker has planned it yet"
            if row["next_at"] is None
            else f"first at {row['next_at']:%Y-%m-%d %H:%M} UTC"
        )
        return ok("retention", when)
    found = (
        f"last {row['finished_at']:%Y-%m-%d %H:%M} UTC: {describe(row['done'])}; next {row['next_at']:%Y-%m-%d %H:%M}"
    )
    if row["is_late"]:
        return warn("retention", found, "nothing old is removed: scheduler start ticker")
    return ok("retention", found)


async def _clock(db: "Connection", clock: "Clock") -> Finding:
    """Compare the clocks: off is what lies beyond the time that the answer took, during which it was given."""
    before = clock.now()
    there = await db.fetchval("SELECT clock_timestamp()")
    after = clock.now()
    way = after - before
    offset = there - (before + way / 2)
    certain = abs(offset) - way / 2
    side = "ahead" if offset > timedelta(0) else "behind"
    found = f"that of the database is {abs(offset) / timedelta(milliseconds=1):,.0f} ms {side}"
    advice = "set both clocks by NTP: firings follow this one, leases that of the database"
    if certain > _FAR_OFF:
        return fail("clock", found, advice)
    return warn("clock", found, advice) if certain > _OFF else ok("clock", found)


async def look_at_broker(settings: "Settings", pools: dict[str, int] | None) -> list[Finding]:
    """Return what is found; without ``pools`` the queues of executors are not looked for."""
    from scheduler.errors import SchedulerError
    from scheduler.transport.amqp_admin import admin
    from scheduler.transport.broker_url import check_broker_url
    from scheduler.transport.topology import topology

    if settings.amqp_url is None:
        return [ok("broker", "none is named: `scheduler up` has one of its own")]
    url, management = settings.amqp_url.get_secret_value(), _value(settings.management_url)
    try:
        check_broker_url(url, allow_insecure=settings.insecure_broker)
        async with admin(url, management, queue_type=settings.queue_type) as operator:
            differences = await operator.check(topology(pools or {}))
            version = operator.version
    except SchedulerError as error:
        return [fail("broker", str(error), "check AMQP_URL, the server and the rights of the user")]
    found = f"RabbitMQ {'.'.join(map(str, version))}"
    findings = [ok("broker", found)]
    if version < _OLDEST_RABBITMQ:
        findings = [warn("broker", found, f"tested with RabbitMQ {'.'.join(map(str, _OLDEST_RABBITMQ))}: upgrade")]
    if differences:
        more = f" and {len(differences) - _MOST_NAMED} more" if len(differences) > _MOST_NAMED else ""
        said = f"{'; '.join(differences[:_MOST_NAMED])}{more}"
        return [*findings, fail("topology", said, "run `scheduler broker declare`")]
    return [*findings, ok("topology", "exchanges and queues are as they should be")]


def _value(secret: "SecretStr | None") -> str | None:
    return None if secret is None else secret.get_secret_value()
