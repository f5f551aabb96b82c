"""Real servers for the tests: private processes that cannot outlive the test run.

Each server runs under ``scheduler/embedded/watch.sh`` on a pipe, so that it ends when the test
process does, however that ends. The folder of all servers is removed by one more process, which
waits until nobody holds its pipe any more: the test process and every server.

All methods here block. From an async test call them with ``asyncio.to_thread``.
"""

import itertools
import os
import random
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from scheduler.embedded import binaries
from tests.support import workers

_WATCH = Path(binaries.__file__).with_name("watch.sh")
SESSION_PIDS: set[int] = set()
"""Processes that belong to the session and not to a test."""


class ServicesError(Exception):
    """A server cannot be had; the text says in one paragraph what is missing."""


@dataclass(slots=True)
class Estate:
    """The folder of this run's servers, open to enter so that unprivileged servers reach their own."""

    root: Path
    pipe: int
    remover: "subprocess.Popen[bytes]"
    servers: list["Server"] = field(default_factory=list)

    @classmethod
    def open(cls) -> "Estate":
        root = Path(tempfile.mkdtemp(prefix="sched-test-", dir="/tmp"))
        root.chmod(0o711)
        reading, writing = os.pipe()
        remover = subprocess.Popen(
            ["sh", "-c", 'read -r _; exec rm -rf -- "$1"', "remover", str(root)],
            stdin=reading,
            start_new_session=True,
        )
        os.close(reading)
        SESSION_PIDS.add(remover.pid)
        return cls(root, writing, remover)

    def close(self) -> None:
        for server in self.servers:
            server.end()
        os.close(self.pipe)
        self.remover.wait(timeout=30)
        shutil.rmtree(self.root, ignore_errors=True)


class Server:
    """One server process under its watcher."""

    def __init__(self, argv: Sequence[str], env: Mapping[str, str], log: Path, *, estate: Estate, ending: str) -> None:
        """``ending`` is the signal the server gets when the test process is gone."""
        with log.open("ab") as sink:
            self._watcher = subprocess.Popen(
                ["sh", str(_WATCH), ending, "5", "KILL", *argv],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=sink,
                env=dict(env),
                cwd="/",
                start_new_session=True,
                pass_fds=(estate.pipe,),
            )
        assert self._watcher.stdout is not None
        self.pid = int(self._watcher.stdout.readline())
        self._log = log
        estate.servers.append(self)

    @property
    def watcher_pid(self) -> int:
        return self._watcher.pid

    def alive(self) -> bool:
        return self._watcher.poll() is None

    def log_tail(self) -> str:
        return self._log.read_text(errors="replace")[-2000:]

    def signal(self, number: int) -> None:
        """Signal the server itself. Its id cannot have been given to another: its watcher has not reaped it."""
        if self.alive():
            os.kill(self.pid, number)

    def wait(self, timeout_s: float = 30.0) -> None:
        self._watcher.wait(timeout=timeout_s)
        for stream in (self._watcher.stdin, self._watcher.stdout):
            assert stream is not None
            stream.close()

    def end(self) -> None:
        """Do what happens when the test process is gone."""
        assert self._watcher.stdin is not None
        self._watcher.stdin.close()
        self.wait()


def until(ready: Callable[[], bool], server: Server, *, timeout_s: float, what: str) -> None:
    """Return when ``ready()`` holds; raise ServicesError with the server's last words otherwise."""
    deadline = time.monotonic() + timeout_s
    while not ready():
        if not server.alive():
            raise ServicesError(f"{what} ended while starting: {server.log_tail()}")
        if time.monotonic() > deadline:
            raise ServicesError(f"{what} was not ready within {timeout_s:g} s: {server.log_tail()}")
        time.sleep(0.05)


def _ports() -> Iterator[int]:
    """Yield this worker's ports in an order of its own, each of them once before any of them again."""
    ports = list(range(20_000 + workers.number(), 32_000, workers.MOST))
    random.Random(os.getpid()).shuffle(ports)
    yield from itertools.cycle(ports)


_PORTS = _ports()


def free_port() -> int:
    """Return a free loopback port below the range that outgoing connections take theirs from.

    It is free until somebody takes it: neither other workers of the same run nor the next calls here return it.
    """
    while True:
        port = next(_PORTS)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


def accepts(port: int) -> bool:
    """Tell whether something listens on that loopback port."""
    try:
        socket.create_connection(("127.0.0.1", port), 0.5).close()
    except OSError:
        return False
    return True
