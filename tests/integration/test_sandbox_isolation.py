"""What a job may know of its executor, and what of a job may outlive it: nothing."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from scheduler.ports import Ended
from schemas.vocabulary import Outcome
from schemas.work import SecretRef, TimeLimits
from tests.support.attempts import Place, a_place, alive, command, is_gone, pid_in, python, seen, shell

ROOT = Path(__file__).resolve().parents[2]
DAEMON = """
import os, sys, time
if os.fork(): os._exit(0)
os.setsid()
if os.fork(): os._exit(0)
for fd in range(3): os.close(fd)
open(sys.argv[1], "w").write(f"{os.getpid()}\\n")
time.sleep(60)
"""
EXECUTOR = """
import asyncio, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import structlog
from scheduler.sandbox.protection import protect_process
from scheduler.ports import StopRequest
from tests.support.attempts import a_place, an_attempt, shell
structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))  # what it prints is for the test
async def main():
    if sys.argv[4] == "protected":
        protect_process()
    async with a_place(Path(sys.argv[2])) as place:
        print((await place.runner.run(shell(sys.argv[3]), an_attempt(), StopRequest())).output.head)
asyncio.run(main())
"""


# The capability only opens a private checkout.
UNPRIVILEGED = [
    "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--bounding-set=-all,+dac_read_search",
    "--inh-caps=-all,+dac_read_search", "--ambient-caps=+dac_read_search", "--",
] if os.geteuid() == 0 else []  # fmt: skip


@pytest.fixture
async def place(tmp_path):
    async with a_place(tmp_path) as opened:
        (opened.code_dir / "daemon.py").write_text(DAEMON)
        yield opened


@pytest.fixture
def executor(tmp_path):
    """Starts a process of its own that runs one script and prints its output."""
    started = []

    def start(script: str, *prefix: str, protected: bool = True) -> subprocess.Popen:
        argv = [
            *prefix,
            sys.executable,
            "-c",
            EXECUTOR,
            str(ROOT),
            str(tmp_path),
            script,
            "protected" if protected else "open",
        ]
        environment = {"PATH": os.environ["PATH"], "DATABASE_URL": "postgresql://canary", "AMQP_URL": "amqp://canary"}
        process = subprocess.Popen(argv, env=environment, stdout=subprocess.PIPE, text=True, cwd="/")
        started.append(process)
        return process

    yield start
    for process in started:
        with process:
            process.kill()


async def test_the_environment_is_built_from_empty(place, monkeypatch):
    monkeypatch.setenv("DATABASE_URL", "postgresql://canary")
    monkeypatch.setenv("AMQP_URL", "amqp://canary")
    monkeypatch.setenv("SCHEDULER_TOKEN", "canary")

    ended = await place.run(shell("env", params={"a": "ü"}, env={"OWN": "1", "SCHEDULER_JOB": "forged"}))

    variables = dict(line.split("=", 1) for line in ended.output.head.splitlines())
    assert "canary" not in ended.output.head
    assert {name for name in variables if not name.startswith("SCHEDULER_")} == {
        "PATH",
        "HOME",
        "LANG",
        "TZ",
        "OWN",
        "PWD",
        "TRACEPARENT",
    }
    assert (variables["SCHEDULER_JOB"], variables["SCHEDULER_PARAMS"]) == ("probe", '{"a": "ü"}')


async def test_secrets_are_resolved_at_the_start(place, monkeypatch, tmp_path):
    monkeypatch.setenv("PROBE_SECRET", "from env")
    (tmp_path / "secret").write_text("from file\n")
    secrets = {"ONE": SecretRef(env="PROBE_SECRET"), "TWO": SecretRef(file=str(tmp_path / "secret"))}

    ended = await place.run(shell('echo "$ONE, $TWO"', secrets=secrets))

    assert ended.output.head == "***, ***\n", "masked: they were there"


async def test_no_descriptor_is_inherited(place, tmp_path):
    with (tmp_path / "secret").open("w") as secret:
        os.set_inheritable(secret.fileno(), True)

        of_a_command = await place.run(command("ls", "/proc/self/fd"))

    assert of_a_command.output.head.split() == ["0", "1", "2", "3"]  # 3: the listing itself


async def test_a_python_child_keeps_its_result_descriptor_from_its_own_children(place):
    (place.code_dir / "fds.py").write_text(
        "from subprocess import check_output\n"
        "def fds(): return check_output(['ls', '/proc/self/fd'], close_fds=False, text=True)\n"
    )

    ended = await place.run(python("fds:fds"))

    assert ended.result.split() == ["0", "1", "2", "3"]


async def test_a_job_has_a_fresh_private_directory_that_goes_with_it(place):
    ended = await place.run(shell("pwd; stat -c %a .; ls -A | wc -l; mkdir -p a/b; touch a/b/c"))

    directory, mode, entries = ended.output.head.split()
    assert Path(directory).parent.parent == place.run_dir
    assert (mode, entries) == ("700", "1")  # the script itself
    assert list(place.run_dir.glob("runner-*/*-*")) == []


async def test_a_job_is_a_session_and_group_of_its_own_with_default_signals(place):
    ended = await place.run(shell("ps -o pid=,pgid=,sid= -p $$; grep -E 'Sig(Ign|Blk)' /proc/self/status; ulimit -c"))

    first, ignored, blocked, core = ended.output.head.splitlines()
    assert len(set(first.split())) == 1
    # Signals 32 and 33 belong to the C library, which lets nobody change what was inherited of them.
    reserved = 0b11 << 31
    assert {int(line.split()[1], 16) & ~reserved for line in (ignored, blocked)} == {0}
    assert core == "0"


async def test_a_daemonised_grandchild_dies_with_the_run(place):
    pid_file = place.code_dir / "pid"

    ended = await place.run(
        command("sh", "-c", f"{sys.executable} daemon.py pid; until test -s pid; do sleep 0.02; done", cwd=".")
    )

    assert ended.outcome is Outcome.SUCCEEDED
    assert ended.reason == "processes it left behind were killed: 1"
    assert not alive(int(pid_file.read_text()))


async def run_over_its_time(place: Place, script: str) -> tuple[Ended, int]:
    """Return how a script ended that had written a process id into ``pid`` before its hard timeout, and that id."""
    for hard_s in (1.0, 10.0):  # the second for a machine on which it came too early
        ended = await place.run(shell(script, cwd=".", limits=TimeLimits(hard_s=hard_s)))
        if (told := place.code_dir / "pid").exists() and told.read_text().endswith("\n"):
            return ended, int(told.read_text())
    raise AssertionError(f"it told no process id: {ended}")


async def test_a_daemonised_grandchild_dies_by_the_hard_timeout(place):
    script = f"{sys.executable} daemon.py pid; sleep 30"

    ended, pid = await run_over_its_time(place, script)

    assert ended.outcome is Outcome.TIMED_OUT
    assert not alive(pid)


@pytest.mark.parametrize("stops", ["kill -STOP $PPID; sleep 30", "while :; do kill -STOP $PPID || exit 7; done"])
async def test_a_job_that_stops_its_warden_is_held_to_its_time(place, stops):
    """Once, and it goes on; again and again, and it is killed with its job."""
    ended, pid = await run_over_its_time(place, f"echo $$ >pid; {stops}")

    assert ended.outcome in {Outcome.TIMED_OUT, Outcome.FAILED}
    assert "no end was seen" not in ended.reason
    assert not alive(pid)


async def test_what_a_killed_warden_leaves_is_killed(place):
    script = f"{sys.executable} daemon.py pid; until test -s pid; do sleep 0.02; done; kill -9 $PPID; sleep 30"

    ended = await place.run(shell(script, cwd="."))

    assert (ended.outcome, ended.reason) == (Outcome.FAILED, "it could not be followed: its warden ended")
    await is_gone(int((place.code_dir / "pid").read_text()))


async def test_all_of_a_job_dies_with_an_executor_that_is_killed(executor, tmp_path):
    daemon = tmp_path / "daemon.py"
    daemon.write_text(DAEMON)
    script = f"{sys.executable} {daemon} {tmp_path}/daemon; "
    script += f"sleep 60 & echo $! > {tmp_path}/child; echo $$ > {tmp_path}/job; wait"
    process = executor(script)
    pids = [await pid_in(tmp_path / name) for name in ("job", "child", "daemon")]
    assert all(alive(pid) for pid in pids)

    process.send_signal(signal.SIGKILL)

    for pid in pids:
        await is_gone(pid)


@pytest.mark.parametrize("protected", [True, False])
async def test_a_protected_executors_environment_cannot_be_read_by_its_jobs(executor, tmp_path, protected):
    """Root reads everything, so the executor runs as another uid."""
    tmp_path.chmod(0o777)
    script = 'cat /proc/[0-9]*/environ 2>/dev/null | tr "\\0" "\\n" | grep -c canary; id -u'

    process = executor(script, *UNPRIVILEGED, protected=protected)
    output = await asyncio.to_thread(process.stdout.read)

    seen_lines, uid = output.split()
    assert uid != "0"
    assert seen_lines == ("0" if protected else "2")


async def test_a_job_of_an_unprivileged_executor_gains_no_rights_by_setuid_programs(executor, tmp_path):
    """What became root by one could not be killed by the executor any more."""
    tmp_path.chmod(0o777)

    process = executor("grep NoNewPrivs /proc/self/status; id -u", *UNPRIVILEGED)
    output = await asyncio.to_thread(process.stdout.read)

    *bound, uid = output.split()
    assert uid != "0"
    assert bound == ["NoNewPrivs:", "1"]


async def test_what_a_killed_executor_left_on_disk_is_removed_by_the_next(executor, tmp_path):
    process = executor("pwd; touch mine; echo $$ > ../../../pid; sleep 60")
    await pid_in(tmp_path / "pid")
    (left,) = (tmp_path / "runs").glob("runner-*")
    async with a_place(tmp_path):
        assert left.exists()  # its runner lives
    process.kill()
    process.wait()

    async with a_place(tmp_path) as place:
        assert not left.exists()
        assert len(list(place.run_dir.glob("runner-*"))) == 1


async def test_signals_to_the_executors_group_do_not_reach_jobs(place):
    (place.code_dir / "begun").unlink(missing_ok=True)
    running = asyncio.ensure_future(place.run(shell("touch begun; until test -e go; do sleep 0.02; done", cwd=".")))
    await seen(place.code_dir / "begun")
    launcher = place.runner._processes._children._launcher.pid
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        os.killpg(launcher, number)
    (place.code_dir / "go").touch()

    ended = await running

    assert ended.outcome is Outcome.SUCCEEDED
