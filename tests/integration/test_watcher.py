"""Files as events: real folders, inotify, and the rows that a Watcher writes."""

import asyncio
import json
import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from scheduler.store.watches import list_troubles
from tests.support.watching import DEADLINE_S, WatchStage, watch_stage


@pytest.fixture
async def stage(database_url: str, tmp_path: Path) -> AsyncIterator[WatchStage]:
    (tmp_path / "in").mkdir()
    async with watch_stage(database_url, tmp_path) as made:
        yield made


def spec(folder: Path, **fields: object) -> dict[str, object]:
    return {"path": str(folder), "settle": "200ms", **fields}


async def test_files_that_were_there_are_no_news_and_files_that_come_are(stage: WatchStage, tmp_path: Path):
    folder = tmp_path / "in"
    (folder / "old.csv").write_text("old")
    await stage.apply(spec(folder, match=["*.csv", "zz-*"]))
    (folder / "early.csv").write_text("after the apply, before any Watcher")
    await stage.watcher()
    await stage.watching()
    (folder / "new.csv").write_text("new")
    (folder / "other.txt").write_text("does not match")
    (folder / ".hidden.csv").write_text("hidden")

    found = await stage.settled(folder, 2)

    assert found == [("added", "early.csv"), ("added", "new.csv")]
    data = json.loads(await stage.db.fetchval("SELECT data::text FROM events WHERE data ->> 'name' = 'new.csv'"))
    assert data["path"] == str(folder / "new.csv")
    assert (data["size"], data["change"], data["folder"]) == (3, "added", str(folder))
    trigger = await stage.db.fetchval("SELECT id FROM triggers")
    assert await stage.db.fetchval("SELECT for_triggers FROM events LIMIT 1") == [trigger]
    assert await stage.broker_depth() >= 1


async def test_changes_replacements_and_deletions(stage: WatchStage, tmp_path: Path):
    folder = tmp_path / "in"
    for name in ("a", "b", "c", "d"):
        (folder / name).write_text(name)
    await stage.apply(spec(folder, changes=["added", "modified", "deleted"]), spec(folder, changes="added"))
    await stage.watcher()
    await stage.watching(2)

    (folder / "a").write_text("longer")
    (folder / "b").unlink()
    (folder / ".tmp").write_text("over c")
    (folder / ".tmp").rename(folder / "c")
    (folder / "d").rename(folder / "e")
    (folder / "f.part").write_text("x")
    (folder / "f.part").rename(folder / "f")

    (folder / "zz-last").write_text("x")
    await stage.events(2 + 9)
    rows = await stage.db.fetch(
        """SELECT t.key, e.data FROM events AS e JOIN triggers AS t ON t.id = e.for_triggers[1]
           WHERE e.data ->> 'name' <> 'zz-last' ORDER BY 1, e.data ->> 'name'"""
    )
    found = [(r["key"], r["data"]["change"], r["data"]["name"], r["data"].get("replaced", False)) for r in rows]
    assert found == [
        ("t0", "modified", "a", False),
        ("t0", "deleted", "b", False),
        ("t0", "modified", "c", True),
        ("t0", "deleted", "d", False),
        ("t0", "added", "e", False),
        ("t0", "added", "f", False),
        ("t1", "added", "c", True),
        ("t1", "added", "e", False),
        ("t1", "added", "f", False),
    ]
    assert {r["data"].get("renamed_from") for r in rows if r["data"]["name"] == "e"} == {"d"}


async def test_a_file_that_grows_is_one_event_when_it_has_settled(stage: WatchStage, tmp_path: Path):
    folder = tmp_path / "in"
    await stage.apply(spec(folder, settle="2s", min_size="4B"))  # longer than a busy machine lets anybody stand still
    await stage.watcher()
    await stage.watching()
    (folder / "small").write_text("abc")
    with (folder / "big").open("w") as file:
        for _ in range(26):
            file.write("abcdefgh")
            file.flush()
            await stage.clock.sleep(0.1)
            assert [] == await stage.db.fetch("SELECT FROM events")
    await stage.events(1)
    (folder / "small").write_text("abcd")

    assert await stage.events(2) == [("added", "big"), ("added", "small")]
    assert await stage.db.fetchval("SELECT data ->> 'size' FROM events WHERE data ->> 'name' = 'big'") == "208"


async def test_folders_below_and_links(stage: WatchStage, tmp_path: Path):
    folder, outside = tmp_path / "in", tmp_path / "outside"
    (folder / "deep").mkdir()
    outside.mkdir()
    (outside / "secret").write_text("x")
    await stage.apply(spec(folder, recursive=True, match=["*.csv", "y/**/*.txt", "zz-last", "!*.bad.csv"]))
    await stage.watcher()
    await stage.watching()

    (folder / "link").symlink_to(outside)
    (folder / "file.csv").symlink_to(outside / "secret")
    (folder / "gone.csv").symlink_to(outside / "nothing")
    (folder / "x/y").mkdir(parents=True)
    (folder / "y/u/v").mkdir(parents=True)
    (folder / "x/y/1.csv").write_text("1")
    (folder / "x/y/1.bad.csv").write_text("1")
    (folder / "x/y/1.txt").write_text("not in y")
    (folder / "y/u/v/2.txt").write_text("2")
    (folder / "y/3.txt").write_text("3")
    (folder / "4.csv").symlink_to(folder / "y/3.txt")
    (folder / "deep/5.csv").write_text("5")
    os.mkfifo(folder / "pipe.csv")
    (outside / "secret").write_text("xyz")

    found = await stage.settled(folder, 5)

    assert sorted(path for _, path in found) == ["4.csv", "deep/5.csv", "x/y/1.csv", "y/3.txt", "y/u/v/2.txt"]


async def test_any_bytes_are_a_name(stage: WatchStage, tmp_path: Path):
    folder = tmp_path / "in"
    await stage.apply(spec(folder, recursive=True))
    await stage.watcher()
    await stage.watching()
    raw = [b"new\nline", b"caf\xe9.csv", b"\xf3\xbd\xb2\x80", b"sub\xff/x", "\N{SNOWMAN}".encode(), b"a'\"\\$(x)"]
    (folder / os.fsdecode(b"sub\xff")).mkdir()
    for name in raw:
        (folder / os.fsdecode(name)).write_text("x")

    await stage.events(len(raw))

    rows = await stage.db.fetch(
        "SELECT decode(data ->> 'path_b64', 'base64') AS path, data ->> 'path' AS text FROM events"
    )
    assert {row["path"] for row in rows} == {os.fsencode(folder) + b"/" + name for name in raw}
    assert len({row["text"] for row in rows}) == len(raw)


async def test_a_folder_that_is_missing_goes_away_and_comes_back(stage: WatchStage, tmp_path: Path):
    folder = tmp_path / "later"
    await stage.apply(spec(folder, changes=["added", "deleted"]))
    nobody = "trigger t0 of job take: no Watcher works it: scheduler start watcher"
    assert await list_troubles(stage.stores.main, "default") == [nobody]
    await stage.watcher()
    await stage.until(
        "SELECT trouble FROM watches", None, lambda found, _: found is not None and "No such file" in found
    )
    (trouble,) = await list_troubles(stage.stores.main, "default")
    assert trouble == f"trigger t0 of job take: '{folder}': No such file or directory"
    folder.mkdir()
    (folder / "a").write_text("a")
    assert await stage.events(1) == [("added", "a")]
    async with asyncio.timeout(DEADLINE_S):  # one whose lease has just run out nobody works, for a moment
        while await list_troubles(stage.stores.main, "default") != []:
            await asyncio.sleep(0.02)

    shutil.rmtree(folder)
    await stage.until("SELECT trouble IS NOT NULL FROM watches", True)
    folder.mkdir()
    (folder / "b").write_text("b")
    assert sorted((await stage.events(3))[1:]) == [("added", "b"), ("deleted", "a")]
    folder.rename(tmp_path / "aside")
    folder.mkdir()
    (tmp_path / "aside" / "not-here").write_text("x")
    (folder / "b").write_text("b again, in a folder made anew")

    found = await stage.settled(folder, 4)
    assert found == [("added", "a"), ("added", "b"), ("added", "b"), ("deleted", "a")]


async def test_a_trigger_that_is_switched_off_catches_nothing_up(stage: WatchStage, tmp_path: Path):
    folder = tmp_path / "in"
    await stage.apply(spec(folder))
    await stage.watcher()
    await stage.watching()
    await stage.apply(spec(folder), enabled=False)
    await stage.until("SELECT since IS NULL FROM watches", True)
    (folder / "while-off").write_text("x")
    await stage.apply(spec(folder))
    await stage.watching()

    assert await stage.settled(folder, 0) == []
    await stage.apply(spec(folder, match=["*", "*.x"]))
    await stage.until("SELECT count(*) FROM watches WHERE basis LIKE '%*.x%' AND based_at IS NOT NULL", 1)
    assert len(await stage.events(1)) == 1
    await stage.apply()
    await stage.until("SELECT count(*) FROM watches", 0)
    assert await stage.db.fetchval("SELECT count(*) FROM watched_files") == 0
