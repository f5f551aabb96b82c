"""A disk of a few megabytes that is really full when it is full.

It is a tmpfs in a mount namespace of its own, which lives as long as the processes in it: nothing
has to be unmounted, however the test ends. Where that is refused (a container without the right to
mount) it is the container's own ``/dev/shm``, if that is as small as containers have it.
"""

import os
import shutil
import subprocess
import uuid
from pathlib import Path

from tests.support.services import SESSION_PIDS, Estate, ServicesError

_MIB = 1024 * 1024
_SHARED_MEMORY = Path("/dev/shm")
_SMALL_BYTES = 1024 * _MIB
_REMOVER = 'read -r _; exec rm -rf -- "$1"'
_KEEPER = 'mount -t tmpfs -o "size=$2,mode=0711" tmpfs "$1" && echo mounted && read -r _'


class SmallDisk:
    """``outside`` is where the test finds it, ``inside`` where the processes behind ``prefix`` do."""

    def __init__(self, estate: Estate, name: str, size_bytes: int = 96 * _MIB) -> None:
        self.inside = estate.root / name
        self.inside.mkdir(mode=0o711)
        self.prefix: list[str] = []
        self.outside = self.inside
        self._keeper = self._mount(size_bytes) or self._share()
        SESSION_PIDS.add(self._keeper.pid)

    def fill(self) -> None:
        """Leave not one byte."""
        with (self.outside / "ballast").open("ab", buffering=0) as ballast:
            for block in (bytes(_MIB), bytes(4096)):
                try:
                    while ballast.write(block) == len(block):
                        pass
                except OSError:
                    continue

    def free(self) -> None:
        (self.outside / "ballast").unlink()

    def close(self) -> None:
        """Give it up with all that is on it; processes on it must have ended."""
        _end(self._keeper)

    def _mount(self, size_bytes: int) -> "subprocess.Popen[bytes] | None":
        """Mount it in a namespace that a process keeps until the test process ends; None where that is refused."""
        rights = ["-m"] if os.geteuid() == 0 else ["-U", "-m", "-r"]
        script = [_KEEPER, "keeper", str(self.inside), str(size_bytes)]
        keeper = _keeping(["unshare", *rights, "--propagation", "private", "sh", "-c", *script])
        assert keeper.stdout is not None
        if keeper.stdout.readline() != b"mounted\n":
            _end(keeper)
            return None
        self.outside = Path(f"/proc/{keeper.pid}/root{self.inside}")
        self.prefix = ["nsenter", f"--target={keeper.pid}", "--mount"]
        if os.geteuid() != 0:  # the server refuses to be root, and be it only in there
            self.prefix += ["--user", "--preserve-credentials", "--"]
            self.prefix += ["unshare", "-U", f"--map-user={os.geteuid()}", f"--map-group={os.getegid()}"]
        self.prefix.append("--")
        return keeper

    def _share(self) -> "subprocess.Popen[bytes]":
        """Take a folder of the machine's shared memory, in which nobody else may hold much."""
        if shutil.disk_usage(_SHARED_MEMORY).total > _SMALL_BYTES:
            raise ServicesError(
                "The tests fill a disk. They may not mount one here (root, or a user who may make namespaces, may), "
                f"and {_SHARED_MEMORY}, which would do in a container, is too large to be filled."
            )
        self.inside = self.outside = _SHARED_MEMORY / f"sched-test-{uuid.uuid4().hex[:12]}"
        self.inside.mkdir(mode=0o711)
        return _keeping(["sh", "-c", _REMOVER, "remover", str(self.inside)])


def _keeping(argv: list[str]) -> "subprocess.Popen[bytes]":
    """Start what reads its standard input until the test process is gone."""
    return subprocess.Popen(
        argv,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def _end(keeper: "subprocess.Popen[bytes]") -> None:
    for stream in (keeper.stdin, keeper.stdout):
        assert stream is not None
        stream.close()
    keeper.wait(timeout=10)
