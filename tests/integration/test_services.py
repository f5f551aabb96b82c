"""The servers of the tests end with the test process, however that ends."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.embedded import gone
from tests.support.services import Estate, Server
from tests.support.services_postgres import PostgresServer
from tests.support.services_programs import for_a_while
from tests.support.services_rabbit import RabbitNode

_OWNER = """
import sys
from tests.support.services import Estate
from tests.support.services_postgres import PostgresServer
from tests.support.services_programs import for_a_while

estate = Estate.open()
server = PostgresServer(estate, "postgres")
server.start()
print(estate.root, *server.pids, flush=True)
sys.stdin.read()
"""
_ROOT = Path(__file__).parents[2]
_WAITS = """
import os, signal
from pathlib import Path
from tests.support.cli import Cli

def test_waits(estate, postgres, tmp_path):
    commands = Cli(tmp_path)
    command = commands.begin_anew("up")
    fork = commands.begin("up")
    processes = [os.getpid(), command.pid, fork.pid, *postgres.pids]
    told = Path(os.environ["TOLD"], f"{os.getpid()}.part")
    told.write_text(" ".join([*(f"/proc/{pid}" for pid in processes), str(estate.root)]))
    told.rename(told.with_suffix(".whole"))
    signal.pause()
"""


def _gone(path: Path) -> bool:
    """Tell whether a folder goes within a while, or a process ends, be it not waited for."""
    deadline = time.monotonic() + 20
    while there := path.exists() and not (path.name.isdigit() and gone(int(path.name))):
        if time.monotonic() > deadline:
            break
        time.sleep(0.02)
    return not there


def test_sigkill_of_the_test_process_ends_its_servers_and_removes_their_folder():
    with subprocess.Popen(
        [sys.executable, "-c", _OWNER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=_ROOT
    ) as owner:
        assert owner.stdout is not None
        root, *pids = owner.stdout.readline().decode().split()

        owner.send_signal(signal.SIGKILL)

        assert len(pids) == 2
        assert all(_gone(Path("/proc", pid)) for pid in pids)
        assert _gone(Path(root))


@contextmanager
def _two_workers(folder: Path) -> Iterator[tuple["subprocess.Popen[bytes]", list[list[Path]]]]:
    """A pytest whose two workers have servers, and the processes and the folder of each, the worker first."""
    for name in ("test_first.py", "test_second.py"):
        (folder / name).write_text(_WAITS)
    argv = [sys.executable, "-m", "pytest", "-n2", "--dist=loadfile", "--max-worker-restart=0", f"--rootdir={folder}"]
    argv += ["-c", "pyproject.toml", "-p", "tests.conftest", "-p", "no:cacheprovider", str(folder)]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "TEST_"))}
    with (
        (folder / "log").open("wb") as log,
        subprocess.Popen(argv, cwd=_ROOT, env=environment | {"TOLD": str(folder)}, stdout=log, stderr=log) as started,
    ):
        try:
            deadline = time.monotonic() + 90
            while len(told := sorted(folder.glob("*.whole"))) < 2:
                assert started.poll() is None, (folder / "log").read_text()
                assert time.monotonic() < deadline, (folder / "log").read_text()
                time.sleep(0.05)
            yield started, [list(map(Path, path.read_text().split())) for path in told]
        finally:
            started.kill()


@pytest.mark.slow
@pytest.mark.timeout(150)  # a machine that does other things too
def test_sigkill_of_a_pytest_with_workers_ends_the_servers_of_all(tmp_path: Path):
    with _two_workers(tmp_path) as (controller, (first, second)):
        controller.kill()

        assert all(_gone(path) for path in (*first, *second))


@pytest.mark.slow
@pytest.mark.timeout(150)  # a machine that does other things too
def test_sigkill_of_a_worker_ends_its_own_servers(tmp_path: Path):
    with _two_workers(tmp_path) as (_, (first, second)):
        os.kill(int(first[0].name), signal.SIGKILL)

        assert all(_gone(path) for path in first)
        assert all(path.exists() for path in second)
    assert all(_gone(path) for path in second)


def test_a_killed_postgres_keeps_what_was_committed(estate: Estate):
    server = PostgresServer(estate, "to-kill")
    server.start()
    first = server.pids

    server.kill9()
    server.start()

    assert first != server.pids
    server.close()


@pytest.mark.slow
@pytest.mark.timeout(150)  # a machine that does other things too
def test_a_killed_rabbitmq_node_comes_back_on_its_own_disk_and_ports(estate: Estate):
    node = RabbitNode(estate, "to-kill")
    node.start()
    node.wait_ready()
    node.management.make_vhost("kept")

    node.kill9()
    node.start()
    node.wait_ready()

    assert {"/", "kept"} == {vhost["name"] for vhost in node.management.call("GET", "vhosts")}
    node.close()


def test_a_server_ends_when_its_pipe_does(estate: Estate, tmp_path: Path):
    server = Server(["sleep", "60"], os.environ, tmp_path / "log", estate=estate, ending="TERM")

    server.end()

    assert not server.alive()


@pytest.mark.parametrize("before", [None, "what was there\n"], ids=["absent", "present"])
def test_a_file_of_the_system_is_lent_and_put_back(tmp_path: Path, before: str | None):
    """Installing packages must leave the machine's own rules as they were."""
    path = tmp_path / "etc" / "policy"
    if before is not None:
        path.parent.mkdir()
        path.write_text(before)

    with for_a_while(path, "refuse\n", mode=0o755):
        meanwhile = path.read_text(), path.stat().st_mode & 0o777

    assert ("refuse\n", 0o755) == meanwhile
    assert before == (path.read_text() if path.exists() else None)
    assert (before is not None) == path.parent.exists()
