"""What the ledger forgets is in the archive before: whatever fails, or dies, in between."""

import gzip
import json
import signal
import tracemalloc
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from scheduler.errors import ConfigurationError
from tests.support.cli import Cli
from tests.support.history import fill
from tests.support.retaining import Kept, opened

EVENTS = """
INSERT INTO events (id, tenant, source, topic, data, received_at, verdict, decided_at)
SELECT gen_random_uuid(), t, 'amqp', 'paid', '{"n": 1}', now() - d * interval '1 day', 'ignored', now()
FROM generate_series(80, 119) AS d, unnest(ARRAY['default', 'other']) AS t
"""
TABLES = ("firings", "events")


@pytest.fixture
async def kept(database_url: str) -> AsyncIterator[Kept]:
    """Sixty firings of 100 to 120 days ago, with runs; eighty events of 80 to 120 days ago, of two tenants."""
    async with opened(database_url) as found:
        await fill(found.db, 60, newest="100 days", over="20 days")
        await found.db.execute("INSERT INTO tenants (name) VALUES ('other')")
        await found.db.execute(EVENTS)
        yield found


async def ids(kept: Kept) -> dict[str, set[str]]:
    """Return what the ledger has."""
    return {table: {str(row["id"]) for row in await kept.db.fetch(f"SELECT id FROM {table}")} for table in TABLES}


def archived(folder: Path) -> dict[str, list[str]]:
    """Return, of all tenants, the ids of what is archived; every line is in a file of its tenant, of its first day."""
    found: dict[str, list[str]] = {table: [] for table in TABLES}
    for path in sorted(folder.glob("*/*-*-*-*-*")):
        lines = read(path)
        _, _, _, what, first = path.name.split(".")[0].split("-", 4)
        assert {path.parent.name} == {line["tenant"] for line in lines}
        assert first == lines[0]["id"]
        assert path.name.startswith(lines[0]["fires_at" if what == "firings" else "received_at"][:10])
        found[what] += [line["id"] for line in lines]
    return found


def read(path: Path) -> list[dict[str, Any]]:
    text = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    return [json.loads(line) for line in text.splitlines()]


@pytest.mark.parametrize("compress", [True, False])
async def test_what_the_ledger_forgets_is_archived_before(kept: Kept, tmp_path: Path, *, compress: bool) -> None:
    there = await ids(kept)

    done = await kept.retain(tmp_path, compress=compress)

    found, left = archived(tmp_path), await ids(kept)
    assert {what: sorted(there[what] - left[what]) for what in TABLES} == {what: sorted(found[what]) for what in TABLES}
    assert (len(found["firings"]), len(found["events"])) == (done.forgotten_firings, done.forgotten_events)
    assert min(done.forgotten_firings, done.forgotten_events) > 40
    assert (await kept.retain(tmp_path)).forgotten_events == 0


async def test_without_a_folder_it_is_forgotten_all_the_same(kept: Kept) -> None:
    done = await kept.retain()

    assert min(done.forgotten_firings, done.forgotten_events) > 40


async def test_what_cannot_be_archived_is_kept(kept: Kept, tmp_path: Path) -> None:
    await kept.retain()
    await kept.db.execute(EVENTS)
    before = await ids(kept)
    (tmp_path / "other").write_text("a file where a folder is to be")

    with pytest.raises(ConfigurationError, match=r"retention\.archive"):
        await kept.retain(tmp_path)
    assert before["events"] - set(archived(tmp_path)["events"]) <= (await ids(kept))["events"]
    assert "retention.archive" in await kept.db.fetchval("SELECT trouble FROM retaining")

    (tmp_path / "other").unlink()
    await kept.retain(tmp_path)
    assert set(archived(tmp_path)["events"]) == before["events"] - (await ids(kept))["events"]


@pytest.mark.slow
@pytest.mark.parametrize("passes", [1, 2, 3], ids=["firings", "events", "events-of-another"])
async def test_a_crash_before_the_commit_loses_nothing(
    kept: Kept, tmp_path: Path, database_url: str, passes: int
) -> None:
    """The batch is on the disk and the database has it still: it is written down once more."""
    cli, folder = Cli(tmp_path), tmp_path / "archive"
    cli.environment |= {"DATABASE_URL": database_url, "SCHEDULER_RETENTION__ARCHIVE": str(folder)}
    there = await ids(kept)

    cli.environment["CRASH_AT"] = f"retention.archived:{passes}"
    cli("retention", "run", code=-signal.SIGKILL)

    left = await ids(kept)
    found = archived(folder)
    assert all(there[what] - left[what] <= set(found[what]) for what in TABLES), "what is gone is archived"
    assert any(left[what] & set(found[what]) for what in TABLES), "this is where it died"

    await kept.db.execute("UPDATE retaining SET seen_at = now() - interval '3 minutes'")
    await kept.retain(folder)

    left = await ids(kept)
    found = archived(folder)
    assert {what: there[what] - left[what] for what in TABLES} == {what: set(found[what]) for what in TABLES}
    assert all(len(set(found[what])) == len(found[what]) for what in TABLES), "the same file was written again"


async def test_large_events_are_not_in_memory_at_once(kept: Kept, tmp_path: Path) -> None:
    await kept.db.execute(
        """INSERT INTO events (id, tenant, source, topic, data, received_at, verdict, decided_at)
           SELECT gen_random_uuid(), 'other', 'amqp', 'big', jsonb_build_object('text', repeat('x', 1000000)),
                  now() - interval '100 days', 'ignored', now() FROM generate_series(1, 100)""")  # fmt: skip

    tracemalloc.start()
    done = await kept.retain(tmp_path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert len(archived(tmp_path)["events"]) == done.forgotten_events > 100
    assert peak < 70_000_000
