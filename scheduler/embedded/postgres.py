"""The private PostgreSQL server of a scheduler that runs in one process.

It belongs to one user on one machine: jobs that run under the same user id can reach its socket.
There is no TCP port. The server ends with its owner, SIGKILL included, and keeps what it had
committed. Whoever owns the object is told when the server dies and may start it again.
"""

import asyncio
import contextlib
import os
from pathlib import Path

import asyncpg

from scheduler.clock import Clock
from scheduler.embedded.cluster import (
    OWNER,
    SUPERUSER,
    Cluster,
    cluster_folder,
    log_path,
    open_cluster,
    open_log,
    server_environment,
)
from scheduler.embedded.ownership import DataDirLock, end_leftover
from scheduler.embedded.sockets import dsn, make_socket_folder
from scheduler.errors import DatabaseUnavailableError
from scheduler.roles import ACTOR_ROLES

_WATCH = Path(__file__).with_name("watch.sh")
_FAST_SHUTDOWN_S = 30
_STOP_LIMIT_S = _FAST_SHUTDOWN_S + 30
_START_LIMIT_S = 300.0
"""A server that replays a long log is not ready sooner, and must not be killed for it."""
_POLL_S = 0.02
_MEMORY_HELD = "pre-existing shared memory block"


class PrivatePostgres:
    """``start`` (again after a loss), ``dsn``, ``lost``, ``stop``. Not safe for two callers at once."""

    def __init__(self, data_dir: Path, clock: Clock) -> None:
        """``data_dir`` is the scheduler's; it is made (0700) when missing, and no mode is ever changed."""
        self._data_dir = data_dir.resolve()
        self._clock = clock
        self._lock: DataDirLock | None = None
        self._socket_folder: Path | None = None
        self._watcher: asyncio.subprocess.Process | None = None
        self._follower: asyncio.Task[None] | None = None
        self._lost = asyncio.Event()

    @property
    def dsn(self) -> str:
        """For asyncpg; of a role that owns the database ``scheduler`` and is no superuser."""
        return self.dsn_of(OWNER)

    def dsn_of(self, role: str) -> str:
        """Return the DSN of another role; those of the actors may log in, and own nothing."""
        if self._socket_folder is None:
            raise DatabaseUnavailableError("the private PostgreSQL server is not started")
        return dsn(self._socket_folder, role)

    def lost(self) -> asyncio.Event:
        """Return the event that is set when the server started last ends without ``stop``."""
        return self._lost

    async def start(self) -> None:
        """Return when the database takes connections. First time: one to two seconds, later 0.1 s.

        Raises:
            ConflictError: another process owns the data directory.
            ConfigurationError: no fitting programs, account or directory.
            DatabaseUnavailableError: the server does not start; says its last words.
        """
        cluster_path = cluster_folder(self._data_dir)
        if self._lock is None:
            await asyncio.to_thread(self._data_dir.mkdir, mode=0o700, parents=True, exist_ok=True)
            self._lock = await DataDirLock.take(self._data_dir, cluster_path, self._clock)
        try:
            await end_leftover(cluster_path, self._clock)
            cluster = await asyncio.to_thread(open_cluster, self._data_dir)
            self._socket_folder = make_socket_folder(cluster.folder, cluster.account)
            await self._run(cluster, self._socket_folder, self._lock)
            await self._make_database(self._socket_folder)
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """End the server in order (a fast shutdown) and give the data directory free; harmless twice.

        Raises:
            DatabaseUnavailableError: it does not end within a minute; the data directory stays locked.
        """
        self._lost = asyncio.Event()  # what ends from here on was not lost
        await self._end()
        if self._socket_folder is not None:
            with contextlib.suppress(OSError):  # not empty or gone: the next start looks at it again
                self._socket_folder.rmdir()
            self._socket_folder = None
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    async def _end(self) -> None:
        """Close the watcher's pipe, which ends the server, and wait until both are gone."""
        if self._watcher is None or self._follower is None:
            return
        if self._watcher.stdin is not None:
            self._watcher.stdin.close()
        try:
            async with asyncio.timeout(_STOP_LIMIT_S):
                await asyncio.shield(self._follower)
        except TimeoutError:
            raise DatabaseUnavailableError("the private PostgreSQL server does not end") from None
        self._watcher = self._follower = None

    async def _run(self, cluster: Cluster, socket_folder: Path, lock: DataDirLock) -> None:
        """Start the server and return when it is ready."""
        deadline = self._clock.monotonic() + _START_LIMIT_S
        while True:
            words_from, server_pid = await self._spawn(cluster, socket_folder, lock)
            while self._follower is not None and not self._follower.done():
                if _ready(cluster.folder, server_pid):
                    return
                if self._clock.monotonic() > deadline:
                    break
                await self._clock.sleep(_POLL_S)
            await self._end()
            words = await asyncio.to_thread(_log_since, self._data_dir, words_from)
            # Processes of a server whose first process was killed are about to notice it.
            if _MEMORY_HELD not in words or self._clock.monotonic() > deadline:
                last = next(
                    (line for line in reversed(words.splitlines()) if "FATAL" in line or "PANIC" in line), words
                )
                raise DatabaseUnavailableError(f"PostgreSQL did not start: {last} (see {log_path(self._data_dir)})")
            await self._clock.sleep(_POLL_S)

    async def _spawn(self, cluster: Cluster, socket_folder: Path, lock: DataDirLock) -> tuple[int, int]:
        """Start the server under its watcher; return where its words begin in the log, and its process id."""
        log = open_log(self._data_dir)
        try:
            words_from = os.fstat(log).st_size
            watcher = await asyncio.create_subprocess_exec(
                *("sh", str(_WATCH), "INT", str(_FAST_SHUTDOWN_S), "QUIT"),
                *cluster.command(socket_folder),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                env=server_environment(),
                cwd="/",
                start_new_session=True,  # Ctrl-C is for the owner, who still needs the database to drain
                pass_fds=(lock.descriptor,),
            )
        finally:
            os.close(log)
        self._watcher, self._lost = watcher, asyncio.Event()
        self._follower = asyncio.create_task(_follow(watcher, self._lost), name="private-postgres")
        line = await watcher.stdout.readline() if watcher.stdout is not None else b""
        return words_from, int(line or b"0")

    async def _make_database(self, socket_folder: Path) -> None:
        link = await asyncpg.connect(host=str(socket_folder), port=5432, user=SUPERUSER, database="postgres")
        try:
            for role in (OWNER, *ACTOR_ROLES.values()):
                if not await link.fetchval("SELECT true FROM pg_roles WHERE rolname = $1", role):
                    await link.execute(f"CREATE ROLE {role} LOGIN")
            if not await link.fetchval("SELECT true FROM pg_database WHERE datname = $1", OWNER):
                await link.execute(f"CREATE DATABASE {OWNER} OWNER {OWNER}")
                await link.execute(f"REVOKE ALL ON DATABASE {OWNER} FROM PUBLIC")
                await link.execute(f"GRANT CONNECT ON DATABASE {OWNER} TO {', '.join(ACTOR_ROLES.values())}")
        finally:
            await link.close()


async def _follow(watcher: asyncio.subprocess.Process, lost: asyncio.Event) -> None:
    await watcher.wait()
    lost.set()


def _log_since(data_dir: Path, position: int) -> str:
    return log_path(data_dir).read_bytes()[position:].decode(errors="replace")


def _ready(cluster: Path, server_pid: int) -> bool:
    try:
        lines = (cluster / "postmaster.pid").read_text(encoding="utf-8").splitlines()
    except OSError:
        return False
    return len(lines) >= 8 and lines[0] == str(server_pid) and lines[7].strip() == "ready"  # noqa: PLR2004 - its format
