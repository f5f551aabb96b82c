"""A daily job of the past: its ledger as the test wants it, and backfills of it."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from scheduler.store.backfill import (
    Backfill,
    Wanted,
    get_backfill,
    start_backfill,
)
from tests.support.engine import Engine

START = datetime(2026, 3, 1, 2, tzinfo=UTC)
DAY = timedelta(days=1)
DAILY: Mapping[str, Any] = {
    "run": {"command": ["echo", "{{ run.fired_at }}"]},
    "triggers": [{"id": "daily", "cron": "0 2 * * *"}],
}


def days(*numbers: int) -> list[datetime]:
    return [START + DAY * number for number in numbers]


async def ask(stage: Engine, job: str = "report", *, dry_run: bool = False, **fields: Any) -> Backfill:
    given = {"since": START, "until": START + 4 * DAY} | fields
    return await start_backfill(stage.stores.main, "default", Wanted(job, **given), dry_run=dry_run, clock=stage.clock)


async def over(stage: Engine, found: Backfill) -> dict[str, Any]:
    await stage.until("SELECT finished_at FROM backfills WHERE id = $1", found.id)
    assert found.id is not None
    return await get_backfill(stage.stores.main, "default", found.id)


async def ledger(
    stage: Engine, verdict: str, at: datetime, to_at: datetime | None = None, *, where: str = "t.key = 'daily'"
) -> UUID:
    """Write a row of the ledger for the daily trigger of ``report``."""
    row: UUID = await stage.db.fetchval(
        f"""INSERT INTO firings (id, tenant, kind, trigger_id, job_id, job_version, fires_at, to_at, count, wall_time,
                                zone, verdict, reason, decided_at, run_id)
           SELECT gen_random_uuid(), 'default', 'time', t.id, t.job_id, 1, $2, $3, $4, $5, 'UTC', $1, 'x', now(),
                  CASE WHEN $1 = 'started' THEN gen_random_uuid() END
           FROM triggers AS t JOIN jobs AS j ON j.id = t.job_id WHERE j.name = 'report' AND {where}
           RETURNING id""",
        verdict, at, to_at, 1 if to_at is None else (to_at - at) // DAY + 1, at.replace(tzinfo=None).isoformat(),
    )  # fmt: skip
    return row
