"""`scheduler retention`, and where else the daily work is seen."""

import asyncio
from pathlib import Path

import pytest

from scheduler.store.pool import connect
from tests.support.cli import Cli
from tests.support.history import fill


async def fill_runs(dsn: str) -> None:
    db = await connect(dsn, name="test")
    try:
        await fill(db, 60, newest="9 days", over="1 hour")
    finally:
        await db.close()


@pytest.mark.slow
def test_the_daily_work_is_seen_foretold_and_done_as_commands(database_url: str, tmp_path: Path) -> None:
    cli = Cli(tmp_path)
    cli.environment |= {"DATABASE_URL": database_url, "SCHEDULER_RETENTION__ARCHIVE": str(tmp_path / "archive")}
    asyncio.run(fill_runs(database_url))

    [internal] = cli.json("jobs", "--all")["internal"]
    assert ("retention", "internal", None) == tuple(internal[name] for name in ("name", "state", "last_state"))
    assert {"runs": 60, "firings": 0, "events": 0, "audit": 0} == cli.json("retention", "run", "--dry-run")["most"]
    assert "archive" not in {path.name for path in tmp_path.iterdir()}

    done = cli.json("retention", "run")

    assert (59, 57) == (done["moved_runs"], done["archived_runs"])
    shown = cli.json("retention", "show")
    assert (90, 2) == tuple(shown["history"][0][name] for name in ("class", "runs"))
    assert "moved runs: 59" in cli("retention", "show")
    [internal] = cli.json("jobs", "--all")["internal"]
    assert ("succeeded", shown["finished_at"]) == (internal["last_state"], internal["last_finished_at"])
    assert "retention" in cli("jobs", "--all")
    assert "retention" not in cli("jobs")
    assert [*(tmp_path / "archive" / "default").iterdir()]
