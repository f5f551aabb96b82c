"""One owner at a time for a data directory, and no server left over from an earlier one."""

import contextlib
import fcntl
import os
import signal
from pathlib import Path

from scheduler.clock import Clock
from scheduler.errors import ConflictError

_POLL_S = 0.02
_NO_PROCESS = 2**31 - 1  # the kernel's process ids end at 2**22
_OWNER_BYTES = 64
_PATIENCE_S = 30.0
"""How long a server whose owner is dead gets for its fast shutdown, before it is ended at once."""


class DataDirLock:
    """An advisory lock that the owner and every process of its server hold together.

    The server inherits the descriptor: as long as any process works on the data, the lock is taken,
    whoever has been killed meanwhile.
    """

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    @classmethod
    async def take(cls, data_dir: Path, cluster: Path, clock: Clock) -> "DataDirLock":
        """Return the lock; where a dead owner's server still holds it, end that server first.

        Raises:
            ConflictError: a live process owns the directory; names it.
        """
        path = data_dir / "postgres.lock"
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            deadline = clock.monotonic() + 2 * _PATIENCE_S
            while not _locked(descriptor):
                pid, alive = _owner(descriptor)
                if alive or clock.monotonic() > deadline:
                    raise ConflictError(f"{data_dir} is in use by process {pid}")
                await end_leftover(cluster, clock)
                await clock.sleep(_POLL_S)
            os.truncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()} {_started(os.getpid())}\n".encode(), 0)
        except BaseException:
            os.close(descriptor)
            raise
        return cls(descriptor)

    def release(self) -> None:
        """Give it up, also for this process. The server's last processes may hold it for a moment more."""
        os.pwrite(self.descriptor, f"{_NO_PROCESS} 0".ljust(_OWNER_BYTES).encode(), 0)
        os.close(self.descriptor)


async def end_leftover(cluster: Path, clock: Clock) -> None:
    """Make sure that no server runs on ``cluster``: end one that nobody watches over any more.

    Only for the holder of the lock. A process is signalled only after it is known to be a postgres
    that works in this directory, and through a descriptor, so that a number given to another
    process in between is not hit.
    """
    pid_file = cluster / "postmaster.pid"
    try:
        pid = int(pid_file.read_text(encoding="utf-8").split("\n", 1)[0])
    except (FileNotFoundError, ValueError):
        return
    try:
        process = os.pidfd_open(pid)
    except OSError:
        return
    try:
        await _end_server(pid, process, cluster, clock)
    finally:
        os.close(process)
    _forget_pid(pid_file)


async def _end_server(pid: int, process: int, cluster: Path, clock: Clock) -> None:
    if not _is_server_of(pid, cluster):
        return
    deadline = clock.monotonic() + _PATIENCE_S
    with contextlib.suppress(ProcessLookupError):
        signal.pidfd_send_signal(process, signal.SIGINT)
        while _is_server_of(pid, cluster):
            if clock.monotonic() > deadline:
                signal.pidfd_send_signal(process, signal.SIGQUIT)
                deadline = float("inf")
            await clock.sleep(_POLL_S)


def _forget_pid(pid_file: Path) -> None:
    """Put a process id that never exists into a dead server's file.

    PostgreSQL refuses to start while any process that it may signal has the number in there, a
    stranger or a zombie too. The file itself must stay: its other lines tell PostgreSQL which
    shared memory the old server's last processes may still use.
    """
    try:
        lines = pid_file.read_text(encoding="utf-8").split("\n")
        owner = pid_file.stat()
    except FileNotFoundError:  # ended in order
        return
    fresh = pid_file.with_name("postmaster.pid.new")
    fresh.unlink(missing_ok=True)
    # The directory is the server's, not ours: nothing in there is followed.
    target = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        os.write(target, "\n".join([str(_NO_PROCESS), *lines[1:]]).encode())
        os.fchown(target, owner.st_uid, owner.st_gid)
    finally:
        os.close(target)
    fresh.rename(pid_file)


def _is_server_of(pid: int, cluster: Path) -> bool:
    try:
        program = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0]
        return program.endswith(b"/postgres") and Path(f"/proc/{pid}/cwd").samefile(cluster)
    except OSError:
        return False


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _owner(descriptor: int) -> tuple[int, bool]:
    """Return who wrote itself into the lock, and whether that very process still lives."""
    words = os.pread(descriptor, _OWNER_BYTES, 0).split()
    if len(words) != 2:  # noqa: PLR2004 - taken a moment ago, not yet written
        return 0, True
    return int(words[0]), _started(int(words[0])) == int(words[1])


def _started(pid: int) -> int:
    """Return when a process started, in ticks since boot; -1 when there is none."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[19])
    except OSError:
        return -1
