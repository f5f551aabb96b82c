"""The directory of the private server's socket: short, 0700, and ours or refused."""

import hashlib
import os
import socket
import stat
from pathlib import Path
from urllib.parse import quote

from scheduler.embedded.account import Account
from scheduler.embedded.cluster import OWNER, cluster_folder
from scheduler.errors import ConfigurationError, NotPermittedError

_SOCKET_NAME = ".s.PGSQL.5432"
_PATH_LIMIT_BYTES = 100  # the kernel takes 107; beyond that PostgreSQL does not start


def make_socket_folder(cluster: Path, account: Account) -> Path:
    """Return the socket directory for ``cluster``, made when it is not there; the same at every start.

    Only for the holder of the cluster's lock: the lock file of a dead server's socket is removed,
    since PostgreSQL does not start while a stranger has the process id in it.

    Raises:
        ConfigurationError: something of that name is there that is not a 0700 directory of the account.
    """
    name = f"sched-{account.uid}-{hashlib.sha256(os.fsencode(cluster)).hexdigest()[:12]}"
    folder = _base(name) / name
    try:
        folder.mkdir(mode=0o700)
        if account.switched:
            os.chown(folder, account.uid, account.gid)
    except FileExistsError:
        if not _private(folder, account.uid):
            raise ConfigurationError(f"{folder} is in the way: not a 0700 directory of uid {account.uid}") from None
        (folder / f"{_SOCKET_NAME}.lock").unlink(missing_ok=True)
    return folder


def dsn(folder: Path, role: str = OWNER) -> str:
    """Return the DSN of the application's database over that directory's socket."""
    return f"postgresql://{role}@/{OWNER}?host={quote(str(folder))}&port=5432"


def find_running(data_dir: Path) -> str | None:
    """Return the DSN of the server that runs on a scheduler's data directory; None when there is none.

    Blocks for well under a millisecond. Usable by root and by the user who started the scheduler.

    Raises:
        NotPermittedError: the data directory belongs to somebody else.
    """
    cluster = cluster_folder(data_dir.resolve())
    try:
        lines = (cluster / "postmaster.pid").read_text(encoding="utf-8").splitlines()
        owner = cluster.stat().st_uid
    except (FileNotFoundError, NotADirectoryError):
        return None
    except PermissionError as error:
        raise NotPermittedError(f"{cluster} belongs to another user") from error
    _, _, _, _, folder, _, _, status = (line.strip() for line in [*lines, *[""] * 8][:8])
    if status != "ready" or not folder or not _private(Path(folder), owner) or not _answers(Path(folder)):
        return None
    return dsn(Path(folder))


def _base(name: str) -> Path:
    """Return the shortest-lived private place there is: the user's runtime directory, else /tmp."""
    if os.geteuid() == 0:
        # Only root makes names in /run, so nobody can be there first.
        return Path("/run") if os.access("/run", os.W_OK) else Path("/tmp")  # noqa: S108 - checked by _private
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    fits = len(os.fsencode(f"{runtime}/{name}/{_SOCKET_NAME}")) <= _PATH_LIMIT_BYTES
    if runtime.startswith("/") and fits and _private(Path(runtime), os.geteuid()):
        return Path(runtime)
    return Path("/tmp")  # noqa: S108 - checked by _private


def _private(folder: Path, owner: int) -> bool:
    try:
        found = folder.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == owner and not found.st_mode & 0o077


def _answers(folder: Path) -> bool:
    """Tell whether somebody listens: a file may be older than the death of its server."""
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(folder / _SOCKET_NAME))
        except OSError:
            return False
    return True
