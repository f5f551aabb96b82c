"""The data directory of the private server: made once, whole or not at all, and never with another version."""

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from scheduler.embedded.account import Account, account_for, initdb_account, our_names
from scheduler.embedded.binaries import Binaries, choose
from scheduler.errors import ConfigurationError
from scheduler.roles import ACTOR_ROLES

SUPERUSER = "postgres"
OWNER = "scheduler"
"""The role that migrates and obeys commands, and the database's name: owner of its tables, and no
superuser, since a superuser would pass by row level security. Actors have roles of their own."""

_LOG_LIMIT_BYTES = 4 * 1024 * 1024

# For one machine and a handful of connections: what an idle server holds and wakes up for.
_SETTINGS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "port": "5432",
    "max_connections": "40",
    "shared_buffers": "24MB",
    "huge_pages": "off",
    "jit": "off",
    "fsync": "on",
    "synchronous_commit": "on",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "min_wal_size": "48MB",
    "max_wal_size": "512MB",
    "checkpoint_timeout": "15min",
    "bgwriter_delay": "1s",
    "autovacuum_naptime": "2min",
    "autovacuum_max_workers": "1",
    "max_parallel_workers_per_gather": "0",
    "max_parallel_maintenance_workers": "0",
    "max_logical_replication_workers": "0",
    "max_worker_processes": "0",
    "logging_collector": "off",
    "log_min_messages": "warning",
    "log_timezone": "UTC",
    "timezone": "UTC",
}
_FIRST_WITH_IO_METHOD = 18


@dataclass(frozen=True, slots=True)
class Cluster:
    """An existing data directory with the programs and the account that fit it."""

    folder: Path
    binaries: Binaries
    account: Account

    def command(self, socket_folder: Path) -> list[str]:
        """Return the server's command line. Settings are arguments: they come with the program's version."""
        settings = _SETTINGS | {"unix_socket_directories": str(socket_folder)}
        if self.binaries.major >= _FIRST_WITH_IO_METHOD:
            settings["io_method"] = "sync"  # no I/O worker processes
        options = [f"-c{name}={value}" for name, value in settings.items()]
        prefix = self.account.prefix(*_needed(self.binaries), self.folder)
        return [*prefix, self.binaries.postgres, "-D", str(self.folder), *options]


def cluster_folder(data_dir: Path) -> Path:
    """Return where the server of a scheduler's data directory keeps its files."""
    return data_dir / "postgres"


def server_environment() -> dict[str, str]:
    """Return the environment of the server: no variable of ours may steer or reach it."""
    return {"PATH": os.defpath, "LC_ALL": "C.UTF-8", "TZ": "UTC"}


def open_cluster(data_dir: Path) -> Cluster:
    """Return the cluster in ``data_dir``, making it first where there is none. Blocks up to a second or two.

    Raises:
        ConfigurationError: no programs, none of the version that made the directory, or no account to run as.
    """
    folder = cluster_folder(data_dir)
    account = account_for(folder)
    if folder.exists():
        return Cluster(folder, choose(_major_in(folder)), account)
    binaries = choose(None)
    _make(folder, binaries, account)
    return Cluster(folder, binaries, account)


def log_path(data_dir: Path) -> Path:
    """Return the file the server's words go to."""
    return data_dir / "postgres.log"


def open_log(data_dir: Path) -> int:
    """Return a descriptor of the server's log file; an old log of more than 4 MiB is moved to ``.1`` first."""
    path = log_path(data_dir)
    if path.exists() and path.stat().st_size > _LOG_LIMIT_BYTES:
        path.replace(path.with_name(f"{path.name}.1"))
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)


def _major_in(folder: Path) -> int:
    try:
        return int((folder / "PG_VERSION").read_text(encoding="ascii"))
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{folder} is not a PostgreSQL data directory: {error}") from error


def _needed(binaries: Binaries) -> list[Path]:
    # One file of the server's share folder stands for all of it.
    share = binaries.folder.parent / "share" / "postgresql" / "postgres.bki"
    return [Path(binaries.postgres), *([share] if share.exists() else [])]


def _make(folder: Path, binaries: Binaries, account: Account) -> None:
    """Make the cluster beside its place and move it there when it is whole."""
    fresh = folder.with_name(f"{folder.name}.new")
    if fresh.exists():  # of a start that was killed
        shutil.rmtree(fresh)
    fresh.mkdir(mode=0o700)
    maker = initdb_account(account)
    _give(fresh, maker)
    options = ["-U", SUPERUSER, "--auth-local=peer", "--auth-host=reject", "-E", "UTF8", "--locale=C.UTF-8"]
    done = subprocess.run(
        [*maker.prefix(*_needed(binaries), fresh), binaries.initdb, "-D", str(fresh), "--no-instructions", *options],
        capture_output=True,
        text=True,
        env=server_environment(),
        cwd="/",
        check=False,
    )
    if done.returncode:
        shutil.rmtree(fresh)
        last = (done.stderr.strip() or done.stdout.strip() or f"exit code {done.returncode}").splitlines()[-1]
        raise ConfigurationError(f"PostgreSQL's initdb failed in {fresh}: {last}")
    (fresh / "pg_hba.conf").write_text("local all all peer map=scheduler\n", encoding="utf-8")
    lines = [
        f'scheduler "{name}" {role}\n' for name in our_names() for role in (SUPERUSER, OWNER, *ACTOR_ROLES.values())
    ]
    (fresh / "pg_ident.conf").write_text("".join(lines), encoding="utf-8")
    for path in [*fresh.rglob("*"), fresh]:
        _give(path, account)
    fresh.rename(folder)


def _give(path: Path, account: Account) -> None:
    if account.switched:
        os.chown(path, account.uid, account.gid, follow_symlinks=False)
