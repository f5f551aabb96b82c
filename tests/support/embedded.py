"""Processes that own a private PostgreSQL server, and looks at it from outside."""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import asyncpg

ROOT = Path(__file__).parents[2]
_OWNER = """
import asyncio, sys
from pathlib import Path
import asyncpg
from scheduler.clock import SystemClock
from scheduler.embedded.postgres import PrivatePostgres

async def main():
    server = PrivatePostgres(Path(sys.argv[1]), SystemClock())
    await server.start()
    link = await asyncpg.connect(server.dsn)
    await link.execute("CREATE TABLE IF NOT EXISTS kept (n int)")
    await link.execute("INSERT INTO kept VALUES (1)")
    await link.close()
    print(server.dsn, flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await server.stop()

asyncio.run(main())
"""


@contextmanager
def owner_process(data_dir: Path, prefix: list[str] | None = None, **env: str) -> Iterator[subprocess.Popen[bytes]]:
    """Another process that owns a server on ``data_dir`` and has one more row in it."""
    with subprocess.Popen(
        [*(prefix or []), sys.executable, "-c", _OWNER, str(data_dir)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=ROOT,
        env=os.environ | env,
    ) as owner:
        try:
            yield owner
            assert owner.stdin is not None
            owner.stdin.close()  # one that still lives ends in order
            owner.wait(20)
        finally:
            owner.kill()


def said(owner: subprocess.Popen[bytes]) -> str:
    assert owner.stdout is not None
    return owner.stdout.readline().decode().strip()


async def query(dsn: str, statement: str) -> object:
    link = await asyncpg.connect(dsn)
    try:
        return await link.fetchval(statement)
    finally:
        await link.close()


def server_pid(data_dir: Path) -> int:
    return int((data_dir / "postgres/postmaster.pid").read_text().split()[0])


def socket_folder(dsn: str) -> Path:
    return Path(parse_qs(urlsplit(dsn).query)["host"][0])


async def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)


def gone(pid: int) -> bool:
    """No process, or one that has ended and only waits for its parent to notice."""
    try:
        return b") Z " in Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return True


def watchers_of(owner: subprocess.Popen[bytes]) -> list[int]:
    """The watcher of the owner's server, and the watcher's guard."""
    direct = Path(f"/proc/{owner.pid}/task/{owner.pid}/children").read_text().split()
    below = [Path(f"/proc/{pid}/task/{pid}/children").read_text().split() for pid in direct]
    every = map(int, [*direct, *(pid for pids in below for pid in pids)])
    return [pid for pid in every if b"watch.sh" in Path(f"/proc/{pid}/cmdline").read_bytes()]
