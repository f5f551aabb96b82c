"""Watchers that die, wait, starve or drown: each file is one event all the same."""

import asyncio
import contextlib
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from actors.file_watch import WatchSettings
from tests.support.few_watches import watch_poorly
from tests.support.watching import QUICK, WatchStage, watch_stage

NOBODY = 65534
OUTLIVED = """
WITH ended AS (UPDATE watches SET leased_until = now() WHERE owner = '{0}') SELECT owner <> '{0}' FROM watches
"""
"""Whether another has the watch of this owner, whose lease ends with each look, should it have been renewed."""


@pytest.fixture
async def stage(database_url: str, tmp_path: Path) -> AsyncIterator[WatchStage]:
    (tmp_path / "in").mkdir()
    async with watch_stage(database_url, tmp_path) as made:
        yield made


def spec(folder: Path | str, **fields: object) -> dict[str, object]:
    return {"path": str(folder), "settle": "200ms", **fields}


def fill(folder: Path, count: int, prefix: str = "f") -> None:
    for number in range(count):
        (folder / f"{prefix}{number}").touch()


async def test_files_that_came_while_no_watcher_was_there_are_events_once(stage: WatchStage, tmp_path: Path):
    folder = tmp_path / "in"
    await stage.apply(spec("in", changes=["added", "modified", "deleted"]))
    first = await stage.watcher()
    await stage.watching()
    (folder / "a").write_text("a")
    (folder / "b").write_text("b")
    await stage.events(2)
    await first.stop()

    (folder / "b").write_text("changed")
    (folder / "a").unlink()
    (folder / "c").write_text("c")
    await stage.watcher()

    found = await stage.settled(folder, 5)
    assert found == [("added", "a"), ("added", "b"), ("added", "c"), ("deleted", "a"), ("modified", "b")]


async def test_a_file_made_anew_with_an_old_name_while_nobody_looked_is_one_that_came(
    stage: WatchStage, tmp_path: Path
):
    folder = tmp_path / "in"
    await stage.apply(spec(folder))
    first = await stage.watcher()
    await stage.watching()
    (folder / "orders.csv").write_text("monday")
    await stage.events(1)
    await first.stop()

    (folder / "orders.csv").unlink()
    (folder / "orders.csv").write_text("tuesday, perhaps with the same inode")
    await stage.watcher()

    assert await stage.settled(folder, 2) == [("added", "orders.csv"), ("added", "orders.csv")]


async def test_one_of_several_watchers_works_a_folder_and_another_takes_over(stage: WatchStage, tmp_path: Path):
    folder = tmp_path / "in"
    await stage.apply(spec(folder), spec(folder, match="never"))
    watchers = [await stage.watcher() for _ in range(3)]
    await stage.watching(2)
    fill(folder, 50)
    await stage.events(50)

    owner = await stage.db.fetchval(
        "SELECT owner FROM watches AS w JOIN triggers AS t ON t.id = w.trigger_id WHERE t.key = 't0'"
    )
    (holder,) = [watcher for watcher in watchers if watcher._owner == owner]
    for task in holder._loops.values():  # it dies: nothing is given back
        task.cancel()
    fill(folder, 50, "g")

    found = await stage.settled(folder, 100)
    assert len(set(found)) == 100
    await stage.until(f"SELECT count(*) FROM watches WHERE owner = '{owner}'", 0)


async def test_a_holder_that_stood_still_writes_nothing_when_it_wakes(stage: WatchStage, tmp_path: Path):
    """Its lease is another's by then, and so are the files."""
    folder = tmp_path / "in"
    await stage.apply(spec(folder))
    first = await stage.watcher(WatchSettings(lease_s=300))
    await stage.watching()
    (folder / "a").write_text("a")
    await stage.events(1)
    await stage.watcher()
    await stage.until(OUTLIVED.format(first._owner), True)

    fill(folder, 20)

    assert len(await stage.settled(folder, 21)) == 21
    watch = next(iter(first._watches.values()))
    await stage.until("SELECT 1", 1, lambda *_: watch._hold is None)
    assert len(await stage.events(22)) == 22


@pytest.mark.timeout(120)
async def test_a_burst_that_the_kernel_cannot_queue_is_found_by_looking(stage: WatchStage, tmp_path: Path):
    folder = tmp_path / "in"
    await stage.apply(spec(folder))
    await stage.watcher()
    await stage.watching()

    with capture_logs() as lines:
        fill(folder, 20_000)  # while the loop stands still, so nobody reads
        await stage.until("SELECT count(*) FROM events", 20_000)

    assert "hints.overflowed" in {line["event"] for line in lines}
    assert await stage.db.fetchval("SELECT count(DISTINCT data ->> 'name') FROM events") == 20_000
    assert await stage.settled(folder, 20_000) != []


async def test_without_inotify_folders_are_polled(stage: WatchStage, tmp_path: Path):
    folder = tmp_path / "in"
    await stage.apply(spec(folder))
    with capture_logs() as lines:
        await stage.watcher(starved=True)
        await stage.watching()
        (folder / "a").write_text("a")
        assert await stage.settled(folder, 1) == [("added", "a")]

    (polled,) = [line for line in lines if line["event"] == "watch.polled"]
    assert "Too many open files" in polled["reason"]


async def test_folders_beyond_the_inotify_watches_there_are_are_polled(database_url: str, tmp_path: Path):
    said = await asyncio.to_thread(watch_poorly, database_url, tmp_path)

    assert said["reasons"] == ["no inotify watch is left (fs.inotify.max_user_watches)"]
    assert [path for _, path in said["found"]] == ["0/new", "1/new", "2/new", "new"]


@contextlib.contextmanager
def as_nobody() -> Iterator[None]:
    """Let the whole process be nobody, as root may: to root no folder is closed."""
    before = os.geteuid()
    if before == 0:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(before)


async def test_a_right_that_is_lost_and_given_back_makes_no_event(stage: WatchStage, monkeypatch: pytest.MonkeyPatch):
    """Of what cannot be seen nothing is known: it is not deleted, and not new when it is back."""
    base = Path(tempfile.mkdtemp())
    monkeypatch.setenv("HOME", str(base))
    try:
        base.chmod(0o755)
        (base / "closed").mkdir()
        fill(base, 5)
        fill(base / "closed", 5)
        await stage.apply(spec(base, recursive=True, changes=["added", "modified", "deleted"]))
        with as_nobody():
            await stage.watcher()
            await stage.watching()
        (base / "closed").chmod(0)
        (base / "one").touch()
        with as_nobody():
            await stage.events(1)  # a look was taken without the right
        (base / "closed").chmod(0o755)
        base.chmod(0)
        with as_nobody():
            await stage.until("SELECT trouble FROM watches", "denied", lambda found, wanted: wanted in (found or ""))
        base.chmod(0o755)
        with as_nobody():
            await stage.until("SELECT trouble IS NULL FROM watches", True)
        (base / "two").touch()
        with as_nobody():
            assert await stage.events(2) == [("added", "one"), ("added", "two")]
            await stage.watchers[0].stop()
    finally:
        base.chmod(0o755)
        shutil.rmtree(base)


async def test_a_folder_with_too_many_files_is_left_alone_and_said(stage: WatchStage, tmp_path: Path):
    folder = tmp_path / "in"
    fill(folder, 30)
    await stage.apply(spec(folder, match="f*"))
    await stage.watcher(WatchSettings(lease_s=1, rescan_s=0.3, poll_s=0.3, max_files=20))
    await stage.until(
        "SELECT trouble FROM watches", "more than 20 files", lambda found, wanted: wanted in (found or "")
    )
    for number in range(15):
        (folder / f"f{number}").unlink()
    await stage.watching()
    (folder / "fnew").touch()

    assert await stage.events(1) == [("added", "fnew")]


async def test_a_process_with_many_folders_has_one_instance(stage: WatchStage, tmp_path: Path):
    folders = [tmp_path / f"many{number}" for number in range(30)]
    for folder in folders:
        folder.mkdir()
    before = instances()
    await stage.apply(*[spec(folder) for folder in folders])
    await stage.watcher(QUICK)
    await stage.watching(30)
    fill(folders[7], 1)
    fill(folders[29], 1)

    await stage.events(2)
    assert instances() - before == 1
    await stage.watchers[0].stop()
    assert instances() == before


def instances() -> int:
    found = 0
    for fd in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            found += "inotify" in str(fd.readlink())
    return found


async def test_the_database_may_be_away_for_a_while(stage: WatchStage, tmp_path: Path):
    folder = tmp_path / "in"
    await stage.apply(spec(folder))
    await stage.watcher()
    await stage.watching()
    for number in range(3):
        await stage.db.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE '%watcher%'"
        )
        fill(folder, 10, f"g{number}-")
        await asyncio.sleep(0)
    await stage.events(30)

    assert len(await stage.settled(folder, 30)) == 30
