"""Private PostgreSQL clusters on loopback, from the system's programs or the wheel's."""

import os
import re
import shutil
import signal
import subprocess
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from scheduler.embedded.account import Account, account_for, initdb_account
from scheduler.embedded.binaries import system_folders, wheel_folders
from tests.support.services import Estate, Server, ServicesError, accepts, free_port, until
from tests.support.services_disk import SmallDisk

# The disk of a killed process is whole without fsync: only a power cut would need it.
_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "fsync": "off",
    "full_page_writes": "off",
    "max_connections": "200",
    "shared_buffers": "64MB",
    "jit": "off",
    "autovacuum_naptime": "10s",
    "log_min_messages": "warning",
    "lc_messages": "C",
}
_STARTS = 20


def programs() -> Path | None:
    """Return the folder of the programs to test with: the system's newest, else the wheel's; None without either."""
    return next(iter([*system_folders(), *wheel_folders()]), None)


class PostgresServer:
    """One private cluster; user ``postgres`` is trusted over loopback."""

    def __init__(
        self, estate: Estate, name: str, *, settings: dict[str, str] | None = None, disk: SmallDisk | None = None
    ) -> None:
        """``disk`` takes its data; its log stays where the tests' other files are."""
        found = programs()
        if found is None:
            raise ServicesError("PostgreSQL's programs are not on this machine")
        self._programs = found
        self._estate = estate
        self._folder = estate.root / name
        self._disk = disk
        self._settings = _SETTINGS | (settings or {})
        self._server: Server | None = None
        self.port = free_port()

    def dsn(self, dbname: str = "postgres") -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/{dbname}"

    @property
    def pids(self) -> list[int]:
        """Ids of the watcher (a child of the test process) and of the server."""
        return [self._server.watcher_pid, self._server.pid] if self._server else []

    def start(self) -> None:
        """Start and return when connections are taken; the data of an earlier start is kept."""
        cluster = self._seen("data")
        if not cluster.exists():
            self._make_cluster(cluster)
        options = [f"-c{key}={value}" for key, value in self._settings.items()]
        argv = [str(self._programs / "postgres"), "-D", self._path("data"), f"-cport={self.port}", *options]
        argv += [f"-cunix_socket_directories={self._folder}"]
        argv = self._entered(account_for(cluster), argv)
        for _ in range(_STARTS):
            if self._started(argv, cluster):
                return
        raise ServicesError("PostgreSQL did not start: processes of the killed one hold its memory")

    def _started(self, argv: list[str], cluster: Path) -> bool:
        """Start once; False when processes that a kill9 left behind still hold the memory."""
        log = self._folder / "log"
        self._server = server = Server(argv, _environment(), log, estate=self._estate, ending="QUIT")
        try:
            until(lambda: self._takes_connections(cluster, server.pid), server, timeout_s=30, what="PostgreSQL")
        except ServicesError:
            if "pre-existing shared memory" not in server.log_tail():
                raise
            server.wait()
            return False
        return True

    def stop(self, mode: str = "fast") -> None:
        """End it: ``fast`` in order, ``immediate`` as a crash whose children end with it."""
        self._end({"fast": signal.SIGINT, "immediate": signal.SIGQUIT}[mode])

    def kill9(self) -> None:
        """Kill the first process; the others notice by themselves within moments."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        self.stop()
        self.start()

    def close(self) -> None:
        """End it at once and remove its data."""
        if self._server is not None and self._server.alive():
            self._server.signal(signal.SIGQUIT)
            self._server.wait()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _end(self, number: int) -> None:
        assert self._server is not None
        self._server.signal(number)
        self._server.wait()

    def _takes_connections(self, cluster: Path, pid: int) -> bool:
        try:
            lines = (cluster / "postmaster.pid").read_text().splitlines()
        except OSError:
            return False
        return len(lines) >= 8 and lines[0] == str(pid) and lines[7].strip() == "ready" and accepts(self.port)

    def log(self) -> str:
        """Return what the server has logged so far."""
        return (self._folder / "log").read_text(errors="replace")

    def alive(self) -> bool:
        return self._server is not None and self._server.alive()

    def _path(self, part: str) -> str:
        """Return where the server itself finds a part of its data."""
        return str((self._disk.inside if self._disk is not None else self._folder) / part)

    def _seen(self, part: str) -> Path:
        """Return where this process finds it."""
        return (self._disk.outside if self._disk is not None else self._folder) / part

    def _entered(self, account: Account, argv: list[str]) -> list[str]:
        prefix = self._disk.prefix if self._disk is not None else []
        return [*prefix, *account.prefix(self._programs / "postgres", self._folder), *argv]

    def _make_cluster(self, cluster: Path) -> None:
        """Make a new cluster: initdb takes a second of CPU, so those on no disk of their own are copies of one."""
        account = account_for(cluster)
        self._folder.mkdir(mode=0o700)
        if self._disk is not None:
            self._initdb(cluster, self._path("data"), initdb_account(account))
        else:
            first = self._estate.root / "cluster"
            if not first.exists():
                self._initdb(first, str(first), initdb_account(account_for(first)))
            shutil.copytree(first, cluster)
        for path in [self._folder, cluster, *cluster.rglob("*")]:
            _give(path, account)

    def _initdb(self, cluster: Path, inside: str, maker: Account) -> None:
        """``inside`` is where the program finds ``cluster``."""
        _give(self._folder, maker)
        cluster.mkdir(mode=0o700)
        _give(cluster, maker)
        argv = [str(self._programs / "initdb"), "-D", inside, "-U", "postgres", "-A", "trust", "-E", "UTF8"]
        argv += ["--locale=C.UTF-8", "--no-sync", "--no-instructions", f"--wal-segsize={4 if self._disk else 16}"]
        done = subprocess.run(
            self._entered(maker, argv),
            env=_environment(),
            capture_output=True,
            text=True,
            check=False,
            cwd="/",
        )
        if done.returncode:
            raise ServicesError(f"initdb: {done.stdout}{done.stderr}")


def _give(path: Path, account: Account) -> None:
    if account.switched:
        os.chown(path, account.uid, account.gid, follow_symlinks=False)


def _environment() -> dict[str, str]:
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C.UTF-8", "TZ": "UTC"}


def with_database(dsn: str, name: str) -> str:
    """Return the DSN of another database of the same server."""
    if not re.fullmatch(r"[a-z0-9_]+", name):
        raise ValueError(name)
    return urlunsplit(urlsplit(dsn)._replace(path=f"/{name}"))
