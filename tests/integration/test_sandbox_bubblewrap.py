"""Jobs closed in by bubblewrap: what they can reach, how they end, and that none runs without it."""

import asyncio
import contextlib
import os
import sys
import tempfile
from pathlib import Path

import pytest

from scheduler.ports import StopRequest
from scheduler.sandbox.bubblewrap import Bubblewrap, Opened, find_bubblewrap
from schemas.vocabulary import Outcome
from schemas.work import ResourceLimits, TimeLimits
from tests.support.attempts import a_place, command, is_gone, pid_in, python, shell

ROOT = Path(__file__).resolve().parents[2]
MIB = 1024**2
LONG = f"61.{os.getpid()}"
"""Seconds to sleep, like those of no other process."""
JOBS = """
import os, socket, sys
def pid(): return os.getpid()
def connects(port):
    with socket.create_connection(("127.0.0.1", port), timeout=5) as there:
        return there.recv(5).decode()
def hogs():
    kept = []
    while True: kept.append(bytearray(b"x" * 8 * 1024 * 1024))
def told(ctx):
    ctx.metric("rows", 3)
    print("said")
    return {"params": sorted(os.environ), "cwd": os.getcwd()}
"""
EXECUTOR = """
import asyncio, structlog, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from scheduler.sandbox.bubblewrap import Opened, find_bubblewrap
from tests.support.attempts import a_place, shell
async def main():
    async with a_place(Path(sys.argv[2]), bubblewrap=find_bubblewrap(Opened())) as place:
        ended = await place.run(shell("id -u; ls / | tr '\\n' ' '; touch /usr/x || echo refused", isolation="sandbox"))
        print(ended.outcome, ended.output.head)
structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr)); asyncio.run(main())
"""
# The capability only opens a private checkout.
UNPRIVILEGED = [
    "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--bounding-set=-all,+dac_read_search",
    "--inh-caps=-all,+dac_read_search", "--ambient-caps=+dac_read_search", "--",
] if os.geteuid() == 0 else []  # fmt: skip


def closed(opened: Opened | None = None) -> Bubblewrap:
    found = find_bubblewrap(opened or Opened())
    assert isinstance(found, Bubblewrap), found
    return found


@pytest.fixture
async def place(tmp_path):
    async with a_place(tmp_path, bubblewrap=closed()) as opened:
        (opened.code_dir / "jobs.py").write_text(JOBS)
        yield opened


@pytest.fixture
async def port():
    """A port of loopback where somebody says hello."""

    async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"hello")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(greet, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


def closed_in(text: str, **fields):
    return shell(text, isolation="sandbox", **fields)


async def test_there_is_no_network_unless_it_is_asked_for(place, port):
    host = ResourceLimits(network="host")

    without = await place.run(python("jobs:connects", params={"port": port}, isolation="sandbox"))
    none = await place.run(closed_in("grep -c : /proc/net/dev", resources=ResourceLimits(network="none")))
    with_it = await place.run(python("jobs:connects", params={"port": port}, isolation="sandbox", resources=host))

    assert (without.outcome, without.exception) == (Outcome.FAILED, "ConnectionRefusedError")
    assert none.output.head == "1\n"
    assert with_it.result == "hello"


async def test_nothing_can_be_written_but_its_own(place, tmp_path):
    (place.code_dir / "mine").touch()
    places = f"/ /usr /etc /dev /proc /sys {place.code_dir} {place.run_dir} {tmp_path}"

    ended = await place.run(
        closed_in(f"for at in {places} . /tmp /dev/shm $HOME; do touch $at/x 2>/dev/null && echo $at; done; true")
    )

    in_its_tmp = {str(place.run_dir), str(tmp_path)}  # folders on the way to its own, and not those of the host
    *written, home = [at for at in ended.output.head.split() if at not in in_its_tmp]
    assert written == [".", "/tmp", "/dev/shm"]
    assert Path(home).is_relative_to(place.run_dir), "HOME is its own directory"
    assert not any((folder / "x").exists() for folder in (Path("/tmp"), tmp_path, place.run_dir))
    assert sorted(entry.name for entry in place.code_dir.iterdir()) == ["jobs.py", "mine"]
    assert list(place.run_dir.glob("runner-*/*-*")) == []


async def test_the_code_directory_can_be_read_and_other_files_cannot(place, tmp_path, monkeypatch):
    (place.code_dir / "data").write_text("from the code directory\n")
    (tmp_path / "secret").write_text("canary")
    monkeypatch.setenv("DATABASE_URL", "postgresql://canary")

    script = f"cat data; cat {tmp_path}/secret; ls {place.run_dir}/* /root /home /etc/shadow /run /var; env"
    script += "; cat /proc/[0-9]*/environ /proc/[0-9]*/cmdline | tr '\\0' '\\n' | grep canar[y]"
    ended = await place.run(closed_in(script, cwd="."))

    assert ended.output.head.startswith("from the code directory\n")
    assert "canary" not in ended.output.head
    assert ".lock" not in ended.output.head, "directories of other attempts"


async def test_what_the_operator_opens_is_there_and_what_is_ours_is_hidden(tmp_path):
    for name in ("code/state", "code/more", "read", "write"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "file").write_text(f"{name}\n")
    (tmp_path / "code" / "settings").write_text("canary\n")
    hide = (tmp_path / "code" / "state", tmp_path / "code" / "settings")
    opened = Opened((tmp_path / "read", tmp_path / "nowhere"), (tmp_path / "write",), hide)
    async with a_place(tmp_path, bubblewrap=closed(opened)) as place:
        ended = await place.run(
            closed_in(
                f"cd {tmp_path}; cat */file code/*/file code/settings; touch read/x; touch write/x; touch code/state/x"
            )
        )

    head = ended.output.head
    assert "read\nwrite\n" in head
    assert "code/more\n" in head
    assert "canary" not in head
    assert "\ncode/state\n" not in head
    assert (tmp_path / "write" / "x").exists()
    assert not (tmp_path / "read" / "x").exists()
    assert "code/state/x': Read-only file system" in head


async def test_its_own_directory_is_there_below_one_that_is_hidden(tmp_path):
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "state").touch()
    opened = Opened(read=(tmp_path,), hide=(tmp_path / "runs",))
    async with a_place(tmp_path, bubblewrap=closed(opened)) as place:
        ended = await place.run(closed_in(f"touch mine && ls; ls {place.run_dir}; touch {place.run_dir}/x || true"))

    assert ended.output.head.startswith("mine\n")
    assert "state" not in ended.output.head
    assert "Read-only file system" in ended.output.head


async def test_it_sees_its_own_processes_only_and_makes_no_namespaces(place):
    script = f"ls -d /proc/[0-9]* | wc -l; kill -0 {os.getpid()} && echo seen; unshare -U true && echo more"
    ended = await place.run(closed_in(f"exec 2>/dev/null; {script}; true"))

    processes, *more = ended.output.head.split()
    assert int(processes) <= 5
    assert more == []


async def test_results_metrics_output_and_snoozes_come_out(place):
    called = await place.run(python("jobs:told", isolation="sandbox", params={}))
    left = await place.run(closed_in("echo '{\"rows\": 5}' > $SCHEDULER_RESULT; echo 5m later > $SCHEDULER_SNOOZE"))
    twice = [(await place.run(python("jobs:pid", isolation="sandbox"))).result for _ in range(2)]

    assert (called.outcome, called.metrics, called.output.head) == (Outcome.SUCCEEDED, {"rows": 3.0}, "said\n")
    assert Path(called.result["cwd"]).is_relative_to(place.run_dir)
    assert (left.outcome, left.retry_after_s, left.result) == (Outcome.SNOOZED, 300, {"rows": 5})
    assert twice == [2, 2], "the second process of a namespace of its own"


async def test_exit_codes_come_out_and_a_program_that_is_missing_is_said(place):
    ended = await place.run(closed_in("exit 7"))
    missing = await place.run(command("nonesuch", isolation="sandbox"))

    assert (ended.outcome, ended.exit_code) == (Outcome.FAILED, 7)
    assert (missing.outcome, missing.exit_code) == (Outcome.FAILED, 1)
    assert "nonesuch: No such file or directory" in missing.output.head


async def test_it_is_asked_to_stop_and_given_its_grace(place):
    script = "trap 'echo asked; exit 3' TERM; while :; do sleep 0.02; done"

    ended = await place.run(closed_in(script, limits=TimeLimits(soft_s=3, grace_s=10, hard_s=20)))

    assert (ended.outcome, ended.exit_code) == (Outcome.TIMED_OUT, 3)
    assert ended.output.head.endswith("asked\n")


async def test_all_of_it_is_killed_by_the_hard_timeout(tmp_path):
    (tmp_path / "pids").mkdir()
    async with a_place(tmp_path, bubblewrap=closed(Opened(write=(tmp_path / "pids",)))) as place:
        script = f"trap '' TERM; setsid sh -c 'trap \"\" TERM; exec sleep {LONG}' & sleep {LONG}"
        ended = await place.run(closed_in(script, limits=TimeLimits(soft_s=0.5, grace_s=0.2, hard_s=2)))

    assert ended.outcome is Outcome.TIMED_OUT
    assert not pids_with(LONG)


async def test_it_is_killed_at_once_when_it_is_cancelled_so(place):
    stop = StopRequest()
    running = asyncio.ensure_future(place.run(closed_in(f"exec sleep {LONG}"), stop))
    async with asyncio.timeout(10):
        while not pids_with(LONG):
            await asyncio.sleep(0.01)

    stop.request("cancelled", at_once=True)
    ended = await running

    assert ended.outcome is Outcome.CANCELLED
    assert not pids_with(LONG)


async def test_limits_hold_in_it(place):
    hog = await place.run(python("jobs:hogs", isolation="sandbox", resources=ResourceLimits(memory_bytes=64 * MIB)))
    crowd = await place.run(closed_in("sleep 20 & " * 20 + "wait", resources=ResourceLimits(pids=8)))
    alone = await place.run(command("sleep", "0.5", isolation="sandbox", resources=ResourceLimits(pids=1)))
    file = await place.run(closed_in("head -c 4M /dev/zero > big", resources=ResourceLimits(file_bytes=2 * MIB)))
    disk = await place.run(closed_in("head -c 4M /dev/zero > /tmp/big", resources=ResourceLimits(disk_bytes=2 * MIB)))

    assert alone.outcome is Outcome.SUCCEEDED
    assert {ended.outcome for ended in (hog, crowd, file, disk)} == {Outcome.OUT_OF_LIMITS}
    assert crowd.reason == "killed: it had more processes than resources.pids allows, 8"


async def test_a_job_that_wants_it_never_runs_without(tmp_path):
    async with a_place(tmp_path) as place:
        (place.code_dir / "jobs.py").write_text(JOBS)
        orders = closed_in("touch ran", cwd="."), python("jobs:pid", isolation="sandbox")
        ends = [await place.run(order) for order in orders]

    assert {(ended.outcome, ended.output, ended.result) for ended in ends} == {(Outcome.FAILED, None, None)}
    assert ends[0].reason == "this executor has no bubblewrap for isolation: sandbox; it is not run without"
    assert not (place.code_dir / "ran").exists()


def test_why_there_is_none_is_told(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    missing = find_bubblewrap(Opened())
    (tmp_path / "bwrap").write_text("#!/bin/sh\necho 'No permissions to create new namespace' >&2\nexit 1\n")
    (tmp_path / "bwrap").chmod(0o755)

    assert missing == "bwrap is not installed"
    assert find_bubblewrap(Opened()) == "bwrap does not work here: No permissions to create new namespace"


async def test_it_works_for_an_unprivileged_user():
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:  # one that others may enter
        Path(folder).chmod(0o777)
        argv = [*UNPRIVILEGED, sys.executable, "-c", EXECUTOR, str(ROOT), folder]

        executor = await asyncio.create_subprocess_exec(*argv, stdout=asyncio.subprocess.PIPE, cwd="/")
        told, _ = await asyncio.wait_for(executor.communicate(), 30)

    outcome, uid, *entries = told.decode().split()
    assert outcome == "succeeded"
    assert uid == ("65534" if UNPRIVILEGED else str(os.geteuid()))
    assert "root" not in entries
    assert entries[-1] == "refused"


async def test_it_dies_with_an_executor_that_is_killed(tmp_path):
    program = EXECUTOR.replace("id -u;", f"echo $$ > {tmp_path}/pids/pid; sleep {LONG};").replace(
        "Opened()", "Opened(write=(Path(sys.argv[2]) / 'pids',))"
    )
    (tmp_path / "pids").mkdir()
    executor = await asyncio.create_subprocess_exec(sys.executable, "-c", program, str(ROOT), str(tmp_path), cwd="/")
    await pid_in(tmp_path / "pids" / "pid")
    async with asyncio.timeout(10):
        while not (mine := pids_with(LONG) - {executor.pid}):
            await asyncio.sleep(0.01)

    executor.kill()

    await executor.wait()
    for pid in mine:
        await is_gone(pid)


def pids_with(word: str) -> set[int]:
    """The processes on whose command line it stands."""
    found: set[int] = set()
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if word in (process / "cmdline").read_text():
                found.add(int(process.name))
    return found
