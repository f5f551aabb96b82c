"""PostgreSQL dies, loses the answer to a commit, and comes back as it was before."""

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import pytest

from tests.chaos.conftest import Query
from tests.support.attempts import is_gone
from tests.support.chaos import Stage
from tests.support.chaos_proxy import AnswerLoser
from tests.support.chaos_work import make_work, mixed, soon, writes
from tests.support.services import SESSION_PIDS, Estate
from tests.support.services_postgres import PostgresServer, programs

LEASE = "12s"
pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]


@pytest.fixture(scope="module")
def server(estate: Estate) -> Iterator[PostgresServer]:
    # What a commit does not wait for stays in memory: a crash takes all of it, not just the last moments.
    made = PostgresServer(estate, "chaos-postgres", settings={"wal_writer_delay": "10s"})
    made.start()
    SESSION_PIDS.update(made.pids)
    yield made
    made.close()


@pytest.fixture(scope="module")
def module_database(server: PostgresServer, execute: Query) -> str:
    """An empty database of the server that this module kills; the stage brings the schema."""
    execute(server.dsn(), "CREATE DATABASE chaos")
    return server.dsn("chaos")


async def test_database_that_is_killed_under_load(stage: Stage, server: PostgresServer) -> None:
    work = mixed("killed", stage.ledger, soon(0.3), pulses=8)
    await stage.apply(work)
    await stage.told(lambda entries: len(entries) > 8, work)

    server.stop("immediate")
    server.start()
    SESSION_PIDS.update(server.pids)

    await stage.settled(work)
    await stage.check(work)


async def test_run_that_was_stopped_for_a_newer_one_says_so_after_a_crash(
    stage: Stage, server: PostgresServer, tmp_path: Path
) -> None:
    """An executor acts on that commit of the Dispatcher, so it is on disk, whatever else is not."""
    job = {"run": writes(stage.ledger, f"until={tmp_path / 'gate'}"), "overlap": "cancel_previous"}
    work = make_work("stopped", {"newest": job})
    await stage.apply(work)
    stage.command("--tenant", work.tenant, "trigger", "newest")
    (old,) = await stage.told(bool, work)
    others = [stage.only(kind) for kind in ("ticker", "recorder")]  # their commits would take it to the disk
    for other in others:
        other.signal(signal.SIGSTOP)

    stage.command("--tenant", work.tenant, "trigger", "newest")
    await is_gone(old.pid)
    stage.only("dispatcher").signal(signal.SIGSTOP)
    server.stop("immediate")
    server.start()
    SESSION_PIDS.update(server.pids)
    for other in others:
        other.signal(signal.SIGCONT)
    ended = "SELECT reason FROM scheduler.runs WHERE id::text = $1 AND state = 'cancelled'"
    reason = await stage.until(ended, old.run_id)
    newer = "SELECT id::text FROM scheduler.runs WHERE tenant = $1 AND id::text <> $2"
    promised = await stage.until(newer, work.tenant, old.run_id)
    stage.only("dispatcher").signal(signal.SIGCONT)
    (tmp_path / "gate").touch()

    assert f"run {promised} takes its place (overlap cancel_previous)" == reason
    await stage.settled(work)
    await stage.check(work)
    assert [old.run_id, promised] == [entry.run_id for entry in stage.entries(work) if entry.event == "start"]


@pytest.mark.parametrize(
    ("kind", "answer", "words"),
    [
        ("ticker", b"COMMIT", b""),
        ("dispatcher", b"COMMIT", b""),
        ("recorder", b"COMMIT", b""),
        ("recorder", b"SELECT ", b"WITH claimed AS"),
    ],
    ids=["ticker", "dispatcher", "recorder", "recorder, claims"],
)
async def test_answers_to_commits_are_lost(
    stage: Stage, server: PostgresServer, kind: str, answer: bytes, words: bytes
) -> None:
    """Whoever asked must not take the unknown for a no: what it does again changes nothing."""
    await stage.only(kind).drain()
    async with AnswerLoser("127.0.0.1", server.port, answer, words) as losing:
        away = urlunsplit(urlsplit(stage.dsn)._replace(netloc=f"postgres@127.0.0.1:{losing.port}"))
        actor = stage.start(kind, DATABASE_URL=away)
        await actor.works()
        work = mixed(f"{kind}-{answer[:6].decode().lower()}", stage.ledger, soon(0.3))
        losing.left = 3
        await stage.apply(work)

        await stage.settled(work)
        assert 0 == losing.left
        await actor.drain()
    stage.start(kind)

    await stage.check(work)


async def test_end_of_a_run_that_a_restored_database_does_not_know_is_kept(
    stage: Stage, server: PostgresServer, execute: Query, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    jobs = {"held": {"run": writes(stage.ledger, f"until={gate}"), "overlap": "allow"}}
    work = make_work("restored", jobs)
    await stage.apply(work)
    backup = Backup(server, tmp_path / "backup")
    backup.take()

    stage.command("--tenant", work.tenant, "trigger", "held")
    (start,) = await stage.told(bool, work)
    execute(server.dsn(), "DROP DATABASE chaos WITH (FORCE)")
    execute(server.dsn(), "CREATE DATABASE chaos")
    backup.restore()
    gate.touch()

    kept = "SELECT body ->> 'outcome' FROM scheduler.orphan_ends WHERE run_id::text = $1 AND attempt = 1"
    assert "succeeded" == await stage.until(kept, start.run_id)
    stage.command("--tenant", work.tenant, "trigger", "held")
    done = "SELECT id::text FROM scheduler.runs WHERE tenant = $1 AND state = 'succeeded'"
    assert start.run_id != await stage.until(done, work.tenant)
    assert [1, 1] == [entry.attempt for entry in stage.entries(work) if entry.event == "start"]


class Backup:
    """A dump of the stage's database, taken and restored with PostgreSQL's own programs."""

    def __init__(self, server: PostgresServer, file: Path) -> None:
        self._server = server
        self._file = file

    def take(self) -> None:
        self._run("pg_dump", "--format=custom", f"--file={self._file}", self._server.dsn("chaos"))

    def restore(self) -> None:
        self._run("pg_restore", "--single-transaction", f"--dbname={self._server.dsn('chaos')}", str(self._file))

    def _run(self, program: str, *arguments: str) -> None:
        folder = programs()
        assert folder is not None
        argv = [str(folder / program), *arguments]
        done = subprocess.run(argv, env={"PATH": os.environ["PATH"]}, capture_output=True, text=True, check=False)
        assert 0 == done.returncode, done.stderr
