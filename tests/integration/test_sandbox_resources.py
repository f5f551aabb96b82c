"""Resource limits with real processes, by each means that this machine has."""

import asyncio
import os
import sys
from pathlib import Path

import pytest

from scheduler.sandbox.cgroup import LEAF
from scheduler.sandbox.means import SAMPLING, find_means
from schemas.vocabulary import Outcome
from schemas.work import ResourceLimits
from tests.support.attempts import a_place, command, python, shell

ROOT = Path(__file__).resolve().parents[2]
MIB = 1024**2
FOUND = find_means()
HOG = """
import sys, time
def hog(mib):
    kept = []
    for _ in range(mib // 8):
        kept.append(bytearray(b"x" * 8 * 1024 * 1024))
        time.sleep(0.02)
    time.sleep(20)
def holds(mib):
    kept = bytearray(b"x" * mib * 1024 * 1024)
    time.sleep(0.5)
    return len(kept)
def burns(seconds):
    began = time.process_time()
    while time.process_time() - began < seconds: pass
def writes(mib):
    with open("written", "wb") as file:
        file.write(b"x" * mib * 1024 * 1024)
        file.flush()
        import os; os.fsync(file.fileno())
"""
DAEMON_HOG = """
import os, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        kept = []
        while True:
            kept.append(bytearray(b"x" * 4 * 1024 * 1024))
            time.sleep(0.02)
    os._exit(0)
time.sleep(20)
"""
EXECUTOR = """
import asyncio, structlog, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from schemas.work import ResourceLimits
from tests.support.attempts import a_place, command
async def main():
    root = Path(sys.argv[2])
    bomb = command("python3", str(root / "code" / "bomb.py"), resources=ResourceLimits(pids=50))
    async with a_place(root) as place:
        ended = await place.run(bomb)
        print(ended.outcome, ended.usage.limited_by)
        print(ended.reason)
structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr)); asyncio.run(main())
"""
# The capability only opens a private checkout.
UNPRIVILEGED = [
    "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--bounding-set=-all,+dac_read_search",
    "--inh-caps=-all,+dac_read_search", "--ambient-caps=+dac_read_search", "--",
] if os.geteuid() == 0 else []  # fmt: skip
# Each process forks for ever; stands for any program that does so by mistake.
BOMB = "import os, time\nwhile True:\n    try: os.fork()\n    except OSError: time.sleep(0.05)\n"


@pytest.fixture(params=sorted({FOUND.kind, SAMPLING.kind}))
async def place(request, tmp_path):
    means = SAMPLING if request.param == SAMPLING.kind else FOUND
    async with a_place(tmp_path, means=means) as opened:
        (opened.code_dir / "hogs.py").write_text(HOG)
        (opened.code_dir / "daemon_hog.py").write_text(DAEMON_HOG)
        (opened.code_dir / "bomb.py").write_text(BOMB)
        opened.kind = means.kind
        yield opened
    assert leaves() == []


def leaves() -> list[Path]:
    """Leaves that this process's wardens left behind: none of a living warden can be there after a close."""
    found = [leaf for folder in set(FOUND.folders.values()) for leaf in Path(folder).glob(f"{LEAF}[0-9]*")]
    return [leaf for leaf in found if not Path(f"/proc/{leaf.name.removeprefix(LEAF)}").exists()]


async def test_an_attempt_that_uses_too_much_memory_is_out_of_limits(place):
    ended = await place.run(python("hogs:hog", params={"mib": 2048}, resources=ResourceLimits(memory_bytes=96 * MIB)))

    assert ended.outcome is Outcome.OUT_OF_LIMITS
    assert ended.reason == "killed: it used more memory than resources.memory allows, 96MiB"
    assert ended.usage.limited_by == place.kind
    assert 32 * MIB < ended.usage.peak_memory_bytes < 1024 * MIB


async def test_a_double_forked_descendant_counts_and_is_killed_with_the_job(place):
    order = command("python3", str(place.code_dir / "daemon_hog.py"), resources=ResourceLimits(memory_bytes=64 * MIB))

    ended = await place.run(order)

    assert (ended.outcome, ended.usage.limited_by) == (Outcome.OUT_OF_LIMITS, place.kind)


async def test_memory_within_the_limit_is_nothing_to_talk_about(place):
    limits = ResourceLimits(memory_bytes=256 * MIB, pids=20, cpu=4, file_bytes=MIB, io="idle")

    ended = await place.run(python("hogs:holds", params={"mib": 64}, resources=limits))

    assert (ended.outcome, ended.reason, ended.result) == (Outcome.SUCCEEDED, None, 64 * MIB)
    assert 64 * MIB < ended.usage.peak_memory_bytes < 256 * MIB


async def test_a_fork_bomb_is_bounded_and_ended(place):
    order = command("python3", str(place.code_dir / "bomb.py"), resources=ResourceLimits(pids=50))
    if place.kind == SAMPLING.kind and os.geteuid() == 0:
        order = shell("sleep 20 & " * 60 + "wait", resources=ResourceLimits(pids=50))  # root has no bound against bombs

    ended = await place.run(order)

    assert ended.outcome is Outcome.OUT_OF_LIMITS
    assert ended.reason == "killed: it had more processes than resources.pids allows, 50"


async def test_a_fork_bomb_of_an_unprivileged_user_is_ended(tmp_path):
    """By looks at the tree, where no cgroup is writable for it, and behind them the kernel's bound for that user."""
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "bomb.py").write_text(BOMB)
    tmp_path.chmod(0o777)
    argv = [*UNPRIVILEGED, sys.executable, "-c", EXECUTOR, str(ROOT), str(tmp_path)]

    executor = await asyncio.create_subprocess_exec(*argv, stdout=asyncio.subprocess.PIPE, cwd="/")
    told, _ = await asyncio.wait_for(executor.communicate(), 30)

    assert told.decode().splitlines() == [
        f"out_of_limits {SAMPLING.kind if UNPRIVILEGED else FOUND.kind}",
        "killed: it had more processes than resources.pids allows, 50",
    ]


async def test_the_cpu_share_holds_up_who_uses_more(place):
    order = python("hogs:burns", params={"seconds": 0.4}, resources=ResourceLimits(cpu=0.25))

    began = os.times().elapsed
    ended = await place.run(order)
    took_s = os.times().elapsed - began

    assert ended.outcome is Outcome.SUCCEEDED
    assert 0.4 <= ended.usage.cpu_s < 2
    assert ended.usage.cpu_s / took_s < 0.45


async def test_a_file_cannot_grow_beyond_its_limit(place):
    limits = ResourceLimits(file_bytes=2 * MIB)

    by_signal = await place.run(shell("head -c 4M /dev/zero > big", resources=limits))
    by_error = await place.run(python("hogs:writes", params={"mib": 4}, resources=limits))

    assert by_signal.outcome is Outcome.OUT_OF_LIMITS
    assert by_signal.reason == "it wrote a file larger than resources.file_size allows, 2MiB"
    assert (by_error.outcome, by_error.exception) == (Outcome.FAILED, "OSError")


async def test_usage_is_told_without_limits_too(place):
    burnt = await place.run(python("hogs:burns", params={"seconds": 0.2}))
    (place.code_dir / "disk").mkdir()
    written = await place.run(python("hogs:writes", params={"mib": 8}, cwd="disk"))

    assert 0.2 <= burnt.usage.cpu_s < 2
    assert burnt.usage.limited_by is None
    assert written.usage.peak_memory_bytes > 8 * MIB
    assert written.usage.written_bytes == 0 or written.usage.written_bytes >= 8 * MIB
