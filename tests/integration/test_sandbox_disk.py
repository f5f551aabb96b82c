"""What an attempt keeps in its own folder: limited, and told."""

import os

import pytest

from scheduler.sandbox.disk_limit import kept_below
from scheduler.sandbox.means import SAMPLING, find_means
from schemas.vocabulary import Outcome
from schemas.work import ResourceLimits
from tests.support.attempts import a_place, python, shell

MIB = 1024**2
FOUND = find_means()
LIMITS = ResourceLimits(disk_bytes=8 * MIB)
FILL = "mkdir -p a/b; for n in $(seq 40); do head -c 1048576 /dev/zero >a/b/$n; sleep 0.05; done; sleep 20"


@pytest.fixture(params=sorted({FOUND.kind, SAMPLING.kind}))
async def place(request, tmp_path):
    means = SAMPLING if request.param == SAMPLING.kind else FOUND
    async with a_place(tmp_path, means=means) as opened:
        yield opened


async def test_an_attempt_that_fills_its_folder_is_out_of_limits(place):
    ended = await place.run(shell(FILL, resources=LIMITS))

    assert ended.outcome is Outcome.OUT_OF_LIMITS
    assert ended.reason == "killed: it kept more in its folder than resources.disk allows, 8MiB"
    assert 8 * MIB < ended.metrics["disk_bytes"] < 30 * MIB


async def test_one_that_ends_before_anybody_looks_is_too(place):
    ended = await place.run(shell("head -c 16777216 /dev/zero >all", resources=LIMITS))

    assert (ended.outcome, ended.metrics["disk_bytes"] >= 16 * MIB) == (Outcome.OUT_OF_LIMITS, True)


async def test_what_is_within_the_limit_is_told_as_a_metric_beside_those_of_the_job(place):
    (place.code_dir / "keeper.py").write_text(
        "def keep(ctx):\n  ctx.metric('rows', 3)\n  open('rows', 'wb').write(b'x' * 2 * 1024 * 1024)\n"
    )

    first = await place.run(python("keeper:keep", resources=LIMITS))
    again = await place.run(python("keeper:keep", resources=LIMITS))

    for ended in (first, again):
        assert (ended.outcome, ended.reason) == (Outcome.SUCCEEDED, None)
        assert ended.metrics["rows"] == 3
        assert 2 * MIB <= ended.metrics["disk_bytes"] < 4 * MIB


async def test_without_the_limit_nobody_looks(place):
    ended = await place.run(shell("head -c 16777216 /dev/zero >all", resources=ResourceLimits(pids=20)))

    assert (ended.outcome, ended.metrics) == (Outcome.SUCCEEDED, None)


def test_files_count_once_and_links_are_not_followed(tmp_path):
    folder, outside = tmp_path / "folder", tmp_path / "outside"
    for made in (folder / "below", outside):
        made.mkdir(parents=True)
        (made / "file").write_bytes(b"x" * MIB)
    os.link(folder / "below" / "file", folder / "same")
    (folder / "elsewhere").symlink_to(outside)

    kept, files = kept_below(str(folder))

    assert MIB <= kept < 2 * MIB
    assert files == 4
    assert kept_below(str(tmp_path / "nothing")) == (0, 0)
