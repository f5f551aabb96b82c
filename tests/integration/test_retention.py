"""The daily work on history: its turn, what it archives, what it drops, and how little it leaves on the disk."""

import gzip
import json
import random
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from actors.ticker import Ticker, TickSettings
from scheduler.clock import SystemClock
from scheduler.errors import ConfigurationError, DatabaseUnavailableError
from scheduler.store.pool import connect
from scheduler.store.retaining import foresee, plan_next, retain, show_retention
from scheduler.transport.memory import MemoryBroker, MemoryTransport
from tests.support.history import fill
from tests.support.retaining import Kept, opened, plan

SIZES = """
SELECT sum(pg_total_relation_size(oid)) FROM pg_class
WHERE relnamespace = 'scheduler'::regnamespace AND relkind = 'r'
"""


@pytest.fixture
async def kept(database_url: str) -> AsyncIterator[Kept]:
    async with opened(database_url) as found:
        yield found


def lines(folder: Path) -> list[dict[str, Any]]:
    """Return what is archived for the tenant; each file is read as a program would."""
    found = []
    for path in sorted((folder / "default").iterdir()):
        text = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        found += [json.loads(line) for line in text.splitlines()]
    return found


@pytest.mark.parametrize("compress", [True, False])
async def test_what_is_dropped_is_archived_before(kept: Kept, tmp_path: Path, *, compress: bool) -> None:
    await fill(kept.db, 100, newest="10 days", over="2 days")
    ids = {str(row["id"]) for row in await kept.db.fetch("SELECT id FROM runs WHERE state = 'succeeded'")}

    done = await kept.retain(tmp_path, compress=compress)

    found = lines(tmp_path)
    left = {str(row["id"]) for row in await kept.db.fetch("SELECT id FROM runs WHERE state = 'succeeded'")}
    assert {line["id"] for line in found} == ids - left
    assert done.archived_runs == done.dropped_runs == len(found)
    one = found[0]
    assert one["attempts"][0]["output_head"].startswith("said ")
    assert one["firing"]["verdict"] == "started"
    assert not [path for path in (tmp_path / "default").iterdir() if path.suffix == ".part"]


async def test_an_archive_that_cannot_be_written_keeps_everything(kept: Kept, tmp_path: Path) -> None:
    await fill(kept.db, 100, newest="10 days", over="2 days")
    (tmp_path / "default").write_text("a file where a folder is to be")

    with pytest.raises(ConfigurationError, match=r"retention\.archive"):
        await kept.retain(tmp_path)

    assert (await kept.classes())[7] > 80
    assert "retention.archive" in (await show_retention(kept.owner.main))["trouble"]
    (tmp_path / "default").unlink()
    done = await kept.retain(tmp_path)
    assert done.archived_runs == done.dropped_runs == len(lines(tmp_path)) > 80


async def test_what_was_archived_and_not_dropped_is_written_again_the_same(
    kept: Kept, database_url: str, tmp_path: Path
) -> None:
    """Somebody reads the partitions and it cannot be dropped; then the note that they are archived is lost, too."""
    await fill(kept.db, 60, newest="2 hours", over="1 hour")
    await kept.retain(tmp_path)
    await kept.db.execute("UPDATE history_days SET kept_until = now()")
    reader = await connect(database_url, name="reader")
    try:
        async with reader.transaction():
            await reader.execute("SELECT FROM past_runs")
            with pytest.raises(DatabaseUnavailableError, match="lock timeout"):
                await kept.retain(tmp_path)
    finally:
        await reader.close()
    [first] = (tmp_path / "default").iterdir()
    content = first.read_bytes()
    await kept.db.execute("UPDATE history_days SET archived_at = NULL")

    done = await kept.retain(tmp_path)

    assert first.read_bytes() == content
    assert done.dropped_partitions >= 1
    assert len({line["id"] for line in lines(tmp_path)}) == len(lines(tmp_path)) == 50


async def test_runs_that_came_late_have_a_file_of_their_own(kept: Kept, tmp_path: Path) -> None:
    for job in ("job", "late"):
        await fill(kept.db, 30, newest="2 hours", over="1 minute", job=job)
        await kept.retain(tmp_path)
        await kept.db.execute("UPDATE history_days SET kept_until = now() WHERE dropped_at IS NULL")
        await kept.retain(tmp_path)

    names = [path.name.rpartition("d")[2] for path in sorted((tmp_path / "default").iterdir())]
    assert names.count("-2.jsonl.gz") == names.count(".jsonl.gz")
    assert len({line["id"] for line in lines(tmp_path)}) == 40


async def test_the_ledger_is_kept_longer_than_its_runs(kept: Kept) -> None:
    await fill(kept.db, 200, newest="2 hours", over="120 days", spec={"retention": {"failed": "365d"}})
    await kept.db.execute(
        """INSERT INTO events (id, tenant, source, topic, data, received_at, verdict, decided_at)
           SELECT gen_random_uuid(), 'default', 'x', 'x', '{}', now() - d * interval '1 day' - interval '1 hour',
                  'ignored', now()
           FROM generate_series(1, 100) AS d""")  # fmt: skip

    done = await kept.retain()

    old = "fires_at < now() - interval '91 days'"
    assert await kept.db.fetchval("SELECT min(fires_at) FROM firings") < datetime.now(UTC) - timedelta(days=91)
    assert await kept.db.fetchval(f"SELECT count(*) FROM firings WHERE {old}") == await kept.db.fetchval(
        "SELECT count(*) FROM past_runs WHERE fired_at < now() - interval '91 days'"
    ), "only those whose runs are kept"
    assert done.forgotten_firings > 10
    assert await kept.db.fetchval("SELECT count(*) FROM firings WHERE NOT " + old) > 140
    assert done.forgotten_events == 11


async def test_the_work_is_due_once_a_day_and_done_by_one(kept: Kept) -> None:
    clock = SystemClock()
    due = await plan_next(kept.ticker.main, plan(), clock.now())
    assert due - clock.now() < timedelta(days=1)
    assert await plan_next(kept.ticker.main, plan(), clock.now() + timedelta(days=9)) == due
    assert await retain(kept.ticker.main, plan(), clock) is None, "it is not due"

    await kept.db.execute("UPDATE retaining SET next_at = now(), started_at = now(), seen_at = now()")
    assert await retain(kept.ticker.main, plan(), clock, asked=True) is None, "another one is at it"
    await kept.db.execute("UPDATE retaining SET seen_at = now() - interval '3 minutes'")
    assert await retain(kept.ticker.main, plan(), clock) is not None, "that one is not heard of any more"

    shown = await show_retention(kept.owner.main)
    assert shown["finished_at"] is not None
    assert shown["next_at"] > clock.now()


async def test_a_ticker_does_it_when_it_is_due(kept: Kept) -> None:
    await fill(kept.db, 40, newest="2 hours", over="1 hour")
    await kept.db.execute("UPDATE retaining SET next_at = now()")
    clock = SystemClock()
    transport = MemoryTransport(MemoryBroker(), clock, random.Random(1))
    await transport.start()
    ticker = Ticker(kept.ticker, transport, clock, random.Random(1), TickSettings(retention=plan()))
    with capture_logs() as said:
        await ticker.start()
        try:
            deadline = clock.monotonic() + 20
            while not (done := [line for line in said if line["event"] == "retention.done"]):
                assert clock.monotonic() < deadline
                await clock.sleep(0.05)
        finally:
            await ticker.stop()
            await transport.close()
    assert (await kept.classes())[7] > 0
    assert done[0]["moved_runs"] > 0
    assert (await show_retention(kept.owner.main))["finished_at"] is not None


async def test_a_dry_run_says_what_would_go_and_changes_nothing(kept: Kept) -> None:
    await fill(kept.db, 60, newest="10 days", over="1 hour")
    await kept.db.execute("SELECT make_history_day(7, current_date - 20)")

    found = await foresee(kept.owner.main, plan())

    assert found["most"]["runs"] == 60
    assert [row["class"] for row in found["partitions"]] == [7]
    assert await kept.db.fetchval("SELECT count(*) FROM runs") == 60


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_a_million_aged_runs_leave_little_on_the_disk(kept: Kept) -> None:
    """What is over goes with its partitions; the working tables keep ten runs of each job, and their space is free."""
    runs, jobs = 1_000_000, 100
    await fill(kept.db, runs, newest="2 days", over="40 days", jobs=jobs)
    await kept.db.execute("ANALYZE runs, attempts, flows, firings")
    grown = await kept.db.fetchval(SIZES)

    done = await kept.retain()

    assert done.moved_runs == runs - 10 * jobs
    held = await kept.classes()
    # Five days of forty are younger than a week and have partitions of their own; failures are kept for 90 days.
    assert 0.10 * runs < held[7] < 0.16 * runs
    assert held[90] == pytest.approx(0.05 * runs, rel=0.02)
    assert done.dropped_runs + held[7] + held[90] == done.moved_runs
    for table in ("runs", "attempts", "flows"):
        assert await kept.db.fetchval(f"SELECT count(*) FROM {table}") == 10 * jobs
        await kept.db.execute(f"VACUUM FULL {table}")
    left = await kept.db.fetchval(f"{SIZES} AND relname <> 'firings'")
    assert left < grown / 4


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_the_disk_is_bounded_however_many_rounds_there_are(kept: Kept) -> None:
    """As many runs get old in each round: what one leaves free the next one uses, with no more than a VACUUM."""
    sizes, runs = [], 20_000
    for table in ("runs", "attempts", "flows", "firings"):  # an ANALYZE by itself would keep what VACUUM is to free
        await kept.db.execute(f"ALTER TABLE {table} SET (autovacuum_enabled = off)")
    for number in range(5):
        await fill(kept.db, runs, newest="100 days", over="20 days", jobs=10, job=f"of-{number}-")
        await kept.db.execute("ANALYZE runs, attempts, flows, firings")
        done = await kept.retain()
        assert done.dropped_runs == done.moved_runs == runs - 10, "the last one of each job stays"
        assert done.forgotten_firings == done.moved_runs
        await kept.db.execute("VACUUM")
        sizes.append(await kept.db.fetchval("SELECT pg_database_size(current_database())"))
    assert sizes[-1] < 1.1 * sizes[1], sizes
