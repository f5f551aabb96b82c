"""The system under measurement: private servers, and one process of each actor.

Every process runs under a watcher on a pipe, so that all end with the benchmark, however it ends.
PostgreSQL keeps its defaults (fsync, full pages and synchronous commits on) except for
``shared_buffers`` and ``track_commit_timestamp``, which tells when a row was really committed.
"""

import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.error import URLError

from benchmarks.handlers import ENTRIES
from benchmarks.processes import cpu_s, pss_mb, rss_mb, tree_cpu_s
from tests.support.services import Estate, Server, free_port, until
from tests.support.services_postgres import PostgresServer
from tests.support.services_rabbit import RabbitNode

ACTORS: Final = ("ticker", "dispatcher", "executor", "recorder")
SLOTS: Final = 200
POSTGRES: Final = {
    "fsync": "on",
    "full_page_writes": "on",
    "shared_buffers": "256MB",
    "autovacuum_naptime": "1min",
    "track_commit_timestamp": "on",
}
_ROOT: Final = Path(__file__).parents[1]
SCHEDULER: Final = str(Path(sys.executable).with_name("scheduler"))
_KEPT: Final = ("PATH", "TZ", "LANG")


@dataclass(frozen=True, slots=True)
class System:
    """Everything runs and is ready."""

    dsn: str
    entries: Path
    """Where the handler ``enter`` writes."""
    actors: Mapping[str, Server]
    postgres_pid: int
    broker_pid: int
    estate: Estate
    settings: Mapping[str, str]
    """The environment of every actor."""

    def cpu(self) -> dict[str, float]:
        """Return the CPU seconds used so far: each actor by itself, the servers with all their processes."""
        used = {name: cpu_s(server.pid) for name, server in self.actors.items()}
        return used | {"broker": tree_cpu_s(self.broker_pid), "postgres": tree_cpu_s(self.postgres_pid)}

    @contextmanager
    def ingress(self, **more: str) -> Iterator[tuple[Server, int]]:
        """Start an ingress with these variables too; yield it and its port, and end it."""
        port, probe = free_port(), free_port()
        argv = [SCHEDULER, "start", "ingress", "--port", str(port), "--probe-port", str(probe)]
        log = self.estate.root / "ingress.log"
        server = Server(argv, {**self.settings, **more}, log, estate=self.estate, ending="TERM")
        until(lambda: ready(probe), server, timeout_s=30, what="ingress")
        try:
            yield server, port
        finally:
            _end_actors({"ingress": server})

    def memory(self) -> dict[str, dict[str, float]]:
        """Return the memory of each actor in MB: resident, and with shared pages by share."""
        pids = {name: server.pid for name, server in self.actors.items()}
        return {
            "rss_mb": {name: round(rss_mb(pid), 1) for name, pid in pids.items()},
            "pss_mb": {name: round(pss_mb(pid), 1) for name, pid in pids.items()},
        }


@contextmanager
def system() -> Iterator[System]:
    """Start servers and actors, and end them."""
    estate = Estate.open()
    try:
        broker = RabbitNode(estate, "rabbit")
        broker.start()
        postgres = PostgresServer(estate, "postgres", settings=POSTGRES)
        postgres.start()
        broker.wait_ready()
        settings = environment(estate.root, DATABASE_URL=postgres.dsn(), AMQP_URL=broker.amqp_url)
        for command in ("db migrate", "broker declare"):
            subprocess.run([SCHEDULER, *command.split()], env=settings, check=True, stdout=subprocess.DEVNULL)
        actors = _start_actors(estate, settings)
        pids = postgres.pids[1], broker.pids[-1]
        yield System(postgres.dsn(), estate.root / "entries", actors, *pids, estate, settings)
        _end_actors(actors)
    finally:
        estate.close()


def environment(root: Path, **more: str) -> dict[str, str]:
    """Return the environment of a process of the system that keeps its state below ``root``."""
    own = {"HOME": str(root), "SCHEDULER_DATA_DIR": str(root / "scheduler"), ENTRIES: str(root / "entries")}
    return {name: os.environ[name] for name in _KEPT if name in os.environ} | own | more


def _start_actors(estate: Estate, settings: Mapping[str, str]) -> dict[str, Server]:
    ports = {actor: free_port() for actor in ACTORS}
    actors: dict[str, Server] = {}
    for actor, port in ports.items():
        argv = [SCHEDULER, "start", actor, "--probe-port", str(port)]
        if actor == "executor":
            argv += ["--slots", str(SLOTS), "--code-dir", str(_ROOT), "--handlers", "benchmarks.handlers"]
        actors[actor] = Server(argv, settings, estate.root / f"{actor}.log", estate=estate, ending="TERM")
    for actor, server in actors.items():
        until(lambda port=ports[actor]: ready(port), server, timeout_s=30, what=actor)  # type: ignore[misc]
    return actors


def ready(port: int) -> bool:
    """Tell whether the process with that probe port is ready."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=1) as answer:
            return bool(answer.status == 200)
    except (URLError, OSError):
        return False


def _end_actors(actors: Mapping[str, Server]) -> None:
    for server in actors.values():
        server.signal(15)
    deadline = time.monotonic() + 30
    for server in actors.values():
        server.wait(max(1.0, deadline - time.monotonic()))
