"""What a cgroup leaves of its machine to an executor, on folders that only look like cgroups."""

import os

import pytest

from scheduler.sandbox.allowance import usable_cores, usable_memory

MIB = 1024**2
ALL_MEMORY = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
ALL_CORES = len(os.sched_getaffinity(0))


@pytest.fixture
def proc(tmp_path):
    """The folder below /proc of a process that is in ``/slice/unit`` of each hierarchy."""
    folder = tmp_path / "proc"
    folder.mkdir()
    (folder / "mountinfo").write_text(
        f"31 23 0:28 / {tmp_path}/all rw - cgroup2 cgroup2 rw\n"
        f"32 23 0:29 / {tmp_path}/memory rw - cgroup cgroup rw,memory\n"
        f"33 23 0:30 / {tmp_path}/cpu rw - cgroup cgroup rw,cpu,cpuacct\n"
    )
    for hierarchy in ("all", "memory", "cpu"):
        for cgroup in ("", "slice", "slice/unit"):
            (tmp_path / hierarchy / cgroup).mkdir()
            (tmp_path / hierarchy / cgroup / "cgroup.procs").touch()
    return folder


def test_version_2_allows_the_least_of_all_above(proc, tmp_path):
    (proc / "cgroup").write_text("0::/slice/unit\n")
    (tmp_path / "all/slice/unit/memory.max").write_text("max\n")
    (tmp_path / "all/slice/memory.max").write_text(f"{5 * MIB}\n")
    (tmp_path / "all/slice/unit/cpu.max").write_text("25000 100000\n")
    (tmp_path / "all/slice/cpu.max").write_text("max 100000\n")

    assert (usable_memory(proc), usable_cores(proc)) == (5 * MIB, 0.25)


def test_version_1_allows_the_least_of_all_above(proc, tmp_path):
    (proc / "cgroup").write_text("5:memory:/slice/unit\n3:cpu,cpuacct:/slice/unit\n0::/\n")
    (tmp_path / "memory/slice/unit/memory.limit_in_bytes").write_text(f"{7 * MIB}\n")
    (tmp_path / "memory/slice/memory.limit_in_bytes").write_text("9223372036854771712\n")
    for cgroup, quota in {"slice": "50000", "slice/unit": "-1"}.items():
        (tmp_path / "cpu" / cgroup / "cpu.cfs_quota_us").write_text(f"{quota}\n")
        (tmp_path / "cpu" / cgroup / "cpu.cfs_period_us").write_text("100000\n")

    assert (usable_memory(proc), usable_cores(proc)) == (7 * MIB, 0.5)


@pytest.mark.parametrize("memberships", [None, "0::/slice/unit\n", "0::/elsewhere\n"])
def test_without_limits_it_is_the_machine(proc, memberships):
    if memberships is not None:
        (proc / "cgroup").write_text(memberships)

    assert (usable_memory(proc), usable_cores(proc)) == (ALL_MEMORY, ALL_CORES)
