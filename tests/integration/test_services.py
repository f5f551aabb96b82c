"""The servers of the tests end with the test process, however that ends."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

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


def _gone(path: Path) -> bool:
    deadline = time.monotonic() + 20
    while path.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    return not path.exists()


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


def test_a_killed_postgres_keeps_what_was_committed(estate: Estate):
    server = PostgresServer(estate, "to-kill")
    server.start()
    first = server.pids

    server.kill9()
    server.start()

    assert first != server.pids
    server.close()


@pytest.mark.slow
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
