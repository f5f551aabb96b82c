"""Where leaves are made and what is written into them, on folders that only look like cgroups."""

import os
import subprocess

import pytest

from scheduler.sandbox.cgroup import LEAF, Leaf
from scheduler.sandbox.means import SAMPLING, Means, find_means

LIMITS = {"memory": 64 * 1024**2, "pids": 20, "cpu": 0.5}


@pytest.fixture
def proc(tmp_path):
    """A process's own folder below /proc, of a machine with a unified hierarchy."""
    folder = tmp_path / "proc"
    folder.mkdir()
    (folder / "cgroup").write_text("0::/system.slice/executor.service\n")
    (folder / "mountinfo").write_text(f"31 23 0:28 / {tmp_path}/cgroup rw,relatime - cgroup2 cgroup2 rw\n")
    return folder


@pytest.fixture
def unified(tmp_path):
    folder = tmp_path / "cgroup/system.slice/executor.service"
    folder.mkdir(parents=True)
    (folder / "cgroup.controllers").write_text("cpuset cpu io memory pids\n")
    (folder / "cgroup.subtree_control").write_text("")
    (folder / "cgroup.procs").write_text(f"{os.getpid()}\n")
    return folder


def test_a_unified_hierarchy_is_divided_after_the_executor_has_moved_aside(proc, unified):
    assert find_means(proc) == Means("cgroup2", dict.fromkeys(("memory", "pids", "cpu"), str(unified)))
    assert (unified / "cgroup.subtree_control").read_text() == "+memory +pids +cpu"
    assert (unified / "scheduler-executor" / "cgroup.procs").read_text() == str(os.getpid())


def test_what_the_executor_started_moves_aside_with_it(proc, unified):
    """As the private PostgreSQL server of ``scheduler up``."""
    with subprocess.Popen(["sleep", "60"]) as started:
        (unified / "cgroup.procs").write_text(f"{started.pid}\n")
        find_means(proc)
        started.kill()

    assert (unified / "scheduler-executor" / "cgroup.procs").read_text() == str(started.pid)


def test_nobody_moves_where_somebody_else_is(proc, unified):
    (unified / "cgroup.procs").write_text(f"{os.getpid()}\n{os.getppid()}\n")

    find_means(proc)

    assert not (unified / "scheduler-executor").exists()


def test_an_executor_that_moved_aside_before_divides_the_same_folder(proc, unified):
    (unified / "cgroup.subtree_control").write_text("cpu memory pids\n")
    (unified / "scheduler-executor").mkdir()
    (proc / "cgroup").write_text("0::/system.slice/executor.service/scheduler-executor\n")

    assert find_means(proc).folders["memory"] == str(unified)


def test_without_controllers_or_without_files_there_is_only_sampling(proc, unified, tmp_path):
    (unified / "cgroup.controllers").write_text("hugetlb\n")

    assert find_means(proc) == SAMPLING
    assert find_means(tmp_path) == SAMPLING


@pytest.mark.parametrize(("marks", "kind"), [(["user.delegate"], "cgroup2"), ([], "sampling")])
def test_a_unit_of_systemd_is_divided_only_when_it_is_delegated(proc, unified, monkeypatch, marks, kind):
    """Systemd takes controllers of another unit back at any reload, and ends it with the first job that is killed."""
    monkeypatch.setattr(os, "listxattr", lambda _: ["user.invocation_id", *marks])

    assert find_means(proc).kind == kind


def test_leaves_of_wardens_that_are_gone_are_removed(proc, unified):
    (unified / f"{LEAF}999999999" / "made by a job" / "deeper").mkdir(parents=True)
    (unified / f"{LEAF}{os.getppid()}").mkdir()
    in_use = unified / f"{LEAF}999999998"
    in_use.mkdir()
    (in_use / "cgroup.procs").write_text("77\n")

    find_means(proc)

    assert (in_use / "cgroup.kill").read_text() == "1"
    (in_use / "cgroup.kill").unlink()
    (in_use / "cgroup.procs").unlink()
    find_means(proc)
    assert [leaf.name for leaf in unified.glob(f"{LEAF}[0-9]*")] == [f"{LEAF}{os.getppid()}"]


def test_a_leaf_holds_the_limits_and_tells_which_was_reached(unified):
    leaf = Leaf("cgroup2", dict.fromkeys(("memory", "pids", "cpu"), str(unified)), LIMITS)
    folder = unified / f"{LEAF}{os.getpid()}"
    written = {path.name: path.read_text() for path in folder.iterdir()}
    assert written == {
        "memory.max": str(64 * 1024**2),
        "memory.swap.max": "0",
        "memory.oom.group": "1",
        "pids.max": "20",
        "cpu.max": "50000 100000",
    }
    assert leaf.look(0.0) is None
    (folder / "pids.events").write_text("max 3\n")
    assert leaf.look(0.0) == "pids"
    (folder / "memory.events").write_text("low 0\nmax 7\noom 1\noom_kill 1\n")
    assert leaf.look(0.0) == "memory"
    (folder / "memory.peak").write_text("4096\n")
    assert leaf.peak_bytes == 4096
    leaf.shut()
    assert (folder / "pids.max").read_text() == "0"


def test_a_run_that_stays_below_an_earlier_one_has_a_peak_of_its_own(unified):
    """The peak of version 2 is that of all runs of a process: it cannot be taken back on most kernels."""
    leaf = Leaf("cgroup2", dict.fromkeys(("memory", "pids", "cpu"), str(unified)), LIMITS)
    folder = unified / f"{LEAF}{os.getpid()}"
    peaks = []
    for peak, current in ((0, 0), (9000, 4000), (9000, 3000), (12000, 5000)):
        (folder / "memory.peak").write_text(f"{peak}\n")
        (folder / "memory.current").write_text(f"{current}\n")
        leaf.look(0.0)
        peaks.append(leaf.peak_bytes)
        leaf.begin()

    assert peaks == [0, 9000, 3000, 12000]


def test_what_others_ran_into_is_no_limit_of_the_attempt(unified):
    """The kernel counts kills for the whole service or machine in the leaf too, and forks that those refused."""
    folders = dict.fromkeys(("memory", "pids", "cpu"), str(unified))
    leaf = Leaf("cgroup2", folders, {"memory": 64 * 1024**2, "pids": None, "cpu": None})
    folder = unified / f"{LEAF}{os.getpid()}"
    (folder / "pids.events").write_text("max 3\n")
    (folder / "memory.events").write_text("low 0\nmax 0\noom 0\noom_kill 1\n")

    assert leaf.look(0.0) is None


def test_a_leaf_that_cannot_be_made_leaves_nothing(unified, tmp_path):
    with pytest.raises(FileNotFoundError):
        Leaf("cgroup1", {"memory": str(unified), "pids": str(tmp_path / "gone"), "cpu": str(unified)}, LIMITS)
    assert not (unified / f"{LEAF}{os.getpid()}" / "memory.limit_in_bytes").exists()
