"""A stage of real actor processes that tests kill: ``scheduler start`` on a real broker and a real database."""

import asyncio
import contextlib
import json
import os
import re
import signal
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import asyncpg

from scheduler.clock import SystemClock, VirtualClock
from scheduler.store.definitions import apply
from scheduler.store.stores import Stores
from tests.support.chaos_work import Work, mixed, soon
from tests.support.forked import Forked
from tests.support.ledger import FINAL, Entry, fetch_rows, read, violations

ACTORS = ("ticker", "dispatcher", "recorder", "executor")
DEADLINE_S = 40.0


class ActorProcess:
    """One ``scheduler start`` and what it logs. It cannot outlive pytest."""

    def __init__(self, kind: str, env: dict[str, str], folder: Path, log: Path) -> None:
        self.kind = kind
        self.log = log
        log.touch()
        self.process = Forked(["start", kind], env=env, cwd=folder, output=log)

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def kill9(self) -> None:
        self.process.kill()
        self.process.wait(timeout=30)

    async def works(self) -> None:
        """Wait until it has begun its work; before that a signal ends it as any program."""
        deadline = time.monotonic() + DEADLINE_S
        while not self.says("host.started"):
            assert self.alive, self.tail()
            assert time.monotonic() < deadline, self.tail()
            await asyncio.sleep(0.02)

    async def drain(self) -> None:
        """End it in order, as an operator would; it must say so with exit code 0."""
        await self.works()
        self.process.terminate()
        assert 0 == await self._code(), self.tail()

    async def dies(self) -> None:
        """Wait until it has ended by SIGKILL, as it does at a crash point."""
        assert -signal.SIGKILL == await self._code(), self.tail()

    def tail(self) -> str:
        return f"{self.kind} {self.process.pid}: {self.log.read_text(errors='replace')[-3000:]}"

    def says(self, event: str) -> bool:
        return event in self.log.read_text(errors="replace")

    async def troubles(self) -> dict[str, str]:
        """Ask its probe what keeps it from being ready, by part."""
        return {part["part"]: part["trouble"] for part in await (await self.probe("readyz")).json()}

    async def probe(self, path: str) -> aiohttp.ClientResponse:
        """Return what its probe answers, read."""
        await self.works()
        lines = map(json.loads, self.log.read_text().splitlines())
        port = next(line["port"] for line in lines if line["message"] == "probe.listening")
        async with aiohttp.ClientSession() as http, http.get(f"http://127.0.0.1:{port}/{path}") as answer:
            await answer.read()
        return answer

    async def _code(self) -> int:
        deadline = time.monotonic() + DEADLINE_S
        while (code := self.process.poll()) is None:
            assert time.monotonic() < deadline, f"it still runs: {self.tail()}"
            await asyncio.sleep(0.02)
        return code


class Stage:
    """Processes of all actors on one vhost and one database, with a ledger that their jobs write."""

    def __init__(self, folder: Path, dsn: str, amqp_url: str, *, lease: str, queue_type: str = "auto") -> None:
        self.folder = folder
        self.dsn = dsn
        self.amqp_url = amqp_url
        self.ledger = folder / "ledger"
        self.actors: list[ActorProcess] = []
        self._made = 0
        self._env = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "AMQP_URL": amqp_url,
            "SCHEDULER_LEASE": lease,
            "SCHEDULER_RESEND": "1s",
            "SCHEDULER_QUEUE_TYPE": queue_type,
            "SCHEDULER_SLOTS": "8",
            "SCHEDULER_DATA_DIR": str(folder / "state"),
            "SCHEDULER_LOG_FORMAT": "json",
            "SCHEDULER_PROBE_PORT": "0",
        }

    @property
    def vhost(self) -> str:
        return urlsplit(self.amqp_url).path.removeprefix("/")

    def command(self, *arguments: str) -> str:
        """Run the command line to its end and return what it printed."""
        output, errors = self.folder / "command.out", self.folder / "command.err"
        output.unlink(missing_ok=True)
        ended = Forked(
            arguments, env=self._env | {"DATABASE_URL": self.dsn}, cwd=self.folder, output=output, errors=errors
        )
        code = ended.wait(timeout=60)
        assert 0 == code, f"{arguments}: {output.read_text()}{errors.read_text()}"
        return output.read_text()

    def start(self, kind: str, *, crash_at: str = "", **settings: str) -> ActorProcess:
        """Start one more actor; ``crash_at`` names the point at which it kills itself, ``settings`` are variables."""
        self._made += 1
        database = {} if kind == "executor" else {"DATABASE_URL": self.dsn}
        env = self._env | database | settings | ({"CRASH_AT": crash_at} if crash_at else {})
        actor = ActorProcess(kind, env, self.folder, self.folder / f"{self._made:03}-{kind}.log")
        self.actors.append(actor)
        return actor

    def only(self, kind: str) -> ActorProcess:
        """Return the one live actor of that kind."""
        (actor,) = [actor for actor in self.actors if actor.kind == kind and actor.alive]
        return actor

    def complete(self) -> None:
        """Start what is missing of the four actors."""
        for kind in ACTORS:
            if not any(actor.kind == kind and actor.alive for actor in self.actors):
                self.start(kind)

    def close(self) -> None:
        for actor in self.actors:
            if actor.alive:
                actor.kill9()

    @contextlib.asynccontextmanager
    async def database(self) -> "AsyncIterator[asyncpg.Connection[asyncpg.Record]]":
        db = await asyncpg.connect(self.dsn)
        try:
            yield db
        finally:
            await db.close()

    async def apply(self, work: Work) -> None:
        # As if applied before the first instant, however long it takes: an instant of the past is not planned.
        first = min((at for instants in work.expected.instants.values() for at in instants), default=None)
        clock = SystemClock() if first is None else VirtualClock(first - timedelta(milliseconds=1))
        stores = await Stores.open(self.dsn, name="test", size=1)
        try:
            await apply(stores.main, work.definitions, prune=False, clock=clock)
        finally:
            await stores.close()

    async def crash(self, kind: str, point: str) -> Work:
        """Let the one actor of that kind kill itself at ``point`` under mixed work, start it anew, wait for the end."""
        await self.only(kind).drain()
        victim = self.start(kind, crash_at=point)
        work = mixed(re.sub(r"[^a-z]+", "-", point), self.ledger, soon())
        await self.apply(work)
        await victim.dies()
        self.start(kind)
        await self.settled(work)
        return work

    async def settled(self, work: Work) -> None:
        """Return when every expected instant is decided, every run there is has ended, and nothing is owed."""
        wanted = sum(len(instants) for instants in work.expected.instants.values())
        undone = """SELECT (SELECT count(*) FROM scheduler.runs WHERE tenant = $1
                            AND (state <> ALL ($3) OR (finished_at IS NOT NULL AND sweep_at IS NOT NULL)))
                         + $2 - (SELECT count(*) FROM scheduler.firings
                               WHERE tenant = $1 AND kind = 'time' AND verdict IS NOT NULL)"""
        await self.until(undone, work.tenant, wanted, list(FINAL), holds=lambda left: left == 0)

    async def until(self, query: str, *arguments: Any, holds: Callable[[Any], bool] = bool) -> Any:
        """Return the first value of ``query`` that ``holds``; else fail with rows and logs. Outlives the database."""
        deadline = time.monotonic() + DEADLINE_S
        value: Any = None
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
                async with self.database() as db:
                    while time.monotonic() < deadline:
                        if holds(value := await db.fetchval(query, *arguments)):
                            return value
                        await asyncio.sleep(0.05)
            await asyncio.sleep(0.05)
        raise AssertionError(f"{query} stayed {value!r}\n{await self._account()}")

    async def check(self, work: Work, *, losses: bool = False) -> None:
        """Assert that ledger and rows keep every promise; ``losses``: a fault explains lost attempts."""
        expected = replace(work.expected, losses=losses)
        async with self.database() as db:
            rows = await fetch_rows(db, work.tenant)
            buried = await db.fetchval("SELECT count(*) FROM scheduler.orphan_ends WHERE tenant = $1", work.tenant)
        found = violations(rows, self.entries(work), expected)
        assert [] == found, f"{found}\n{await self._account()}"
        assert 0 == buried

    def entries(self, work: Work) -> list[Entry]:
        return [entry for entry in read(self.ledger) if entry.tenant == work.tenant]

    async def told(self, holds: Callable[[Sequence[Entry]], bool], work: Work) -> list[Entry]:
        """Return the ledger of ``work`` once it ``holds``."""
        deadline = time.monotonic() + DEADLINE_S
        while not holds(found := self.entries(work)):
            assert time.monotonic() < deadline, f"the ledger stayed {found}\n{await self._account()}"
            await asyncio.sleep(0.02)
        return found

    async def _account(self) -> str:
        async with self.database() as db:
            runs = await db.fetch(
                """SELECT tenant, job_name, id, state, attempt, intent, reason, sweep_at - now() AS due, executor
                   FROM scheduler.runs WHERE finished_at IS NULL OR sweep_at IS NOT NULL OR attempt > 1 ORDER BY id"""
            )
            firings = await db.fetch("SELECT id, fires_at, sweep_at FROM scheduler.firings WHERE verdict IS NULL")
        logs = [actor.tail() for actor in self.actors if actor.alive]
        return "\n".join([*(str(tuple(row)) for row in (*runs, *firings)), *logs])
