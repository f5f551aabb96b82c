"""Watchers that die while they record: each file starts one run, and its name arrives as the bytes that it is."""

import os
from pathlib import Path

import pytest

from tests.support.chaos import Stage
from tests.support.chaos_work import make_work

LEASE = "5s"
NAMES = [
    b"plain.csv",
    b"new\nline",
    b"caf\xe9 \xff.csv",
    b"-n",
    b"$(id)'\"",
    b"sp ace",
    "\N{SNOWMAN}\U000fdc80".encode(),
]
TAKE = 'printf "%s\\0" "$1" >>"$0"; printf "%s\\0" "$NAME" >>"$0.env"'
EVENTS = "SELECT count(*) FROM scheduler.events WHERE source = 'file'"
pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]


def drop(folder: Path, wave: int) -> set[bytes]:
    """Put a file of each name into the folder."""
    names = {b"%d %b" % (wave, name) for name in NAMES}
    for name in names:
        (folder / os.fsdecode(name)).write_text("x")
    return names


async def test_each_file_starts_one_run_whenever_a_watcher_dies(stage: Stage, tmp_path: Path) -> None:
    folder, ledger = tmp_path / "in", tmp_path / "ledger"
    folder.mkdir()
    fields = {
        "run": {"command": ["sh", "-c", TAKE, str(ledger), "{{ event.data.path }}"]},
        "env": {"NAME": "{{ event.data.name }}"},
        "triggers": [{"file": {"path": str(folder), "settle": "200ms"}}],
    }
    await stage.apply(make_work("files", {"take": fields}))
    came = drop(folder, 0)
    for wave, point in enumerate(("watcher.before_commit", "watcher.after_commit"), 1):
        watcher = stage.start("watcher", crash_at=point, SCHEDULER_WATCH__LEASE="1s")
        await watcher.dies()
        came |= drop(folder, wave)
    watchers = [stage.start("watcher", SCHEDULER_WATCH__LEASE="1s") for _ in range(2)]
    for wave in (3, 4):
        for watcher in watchers:
            await watcher.works()
        came |= drop(folder, wave)
        await stage.until(f"{EVENTS} AND data ->> 'name' LIKE '{wave} %'", holds=lambda count: count == len(NAMES))
        watchers.pop(0).kill9()
        watchers.append(stage.start("watcher", SCHEDULER_WATCH__LEASE="1s"))
    came |= drop(folder, 5)

    await stage.until(EVENTS, holds=lambda count: count >= len(came))
    done = "SELECT count(*) FROM scheduler.runs WHERE tenant = 'files' AND state = 'succeeded' AND sweep_at IS NULL"
    await stage.until(done, holds=lambda count: count >= len(came))
    for watcher in watchers:
        await watcher.drain()
    told = ledger.read_bytes().split(b"\0")[:-1]
    assert sorted(os.fsencode(folder) + b"/" + name for name in came) == sorted(told)
    assert sorted(came) == sorted(Path(f"{ledger}.env").read_bytes().split(b"\0")[:-1])
    async with stage.database() as db:
        assert await db.fetchval(EVENTS) == len(came)
        assert await db.fetchval("SELECT count(*) FROM scheduler.runs WHERE tenant = 'files'") == len(came)
        assert await db.fetchval("SELECT count(*) FROM scheduler.watches WHERE owner IS NOT NULL") == 0
