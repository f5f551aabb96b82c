"""The demo runs, and what it compares can be wrong: each change of what it left is noticed."""

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
DEMO = ROOT / "examples" / "backup" / "demo.py"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]


def demo(folder: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    argv = [sys.executable, str(DEMO), "--folder", str(folder), *words]
    return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=150)


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> tuple[Path, "subprocess.CompletedProcess[str]"]:
    folder = tmp_path_factory.mktemp("demo") / "made"
    return folder, demo(folder)


@pytest.fixture
def copy(made, tmp_path) -> Path:
    folder = tmp_path / "copy"
    shutil.copytree(made[0], folder, symlinks=True, ignore=shutil.ignore_patterns("state"))
    return folder


def test_the_demo_ends_well_and_leaves_the_archive(made):
    folder, process = made

    assert process.returncode == 0, process.stdout + process.stderr
    assert len(list((folder / "backups").glob("*.tar.gz"))) == 1
    assert "wrong" not in process.stdout
    assert not list((folder / "state").rglob("postmaster.pid"))


def test_the_demo_refuses_a_folder_that_it_did_not_make(tmp_path):
    (tmp_path / "precious").touch()

    assert demo(tmp_path).returncode == 1
    assert (tmp_path / "precious").exists()


def test_what_the_demo_left_compares_well_again(copy):
    assert demo(copy, "--check").returncode == 0


def change_archive(folder: Path) -> None:
    archive = next((folder / "backups").glob("*.tar.gz"))
    raw = bytearray(archive.read_bytes())
    raw[len(raw) // 2] ^= 1
    archive.write_bytes(raw)


def remove_archive(folder: Path) -> None:
    next((folder / "backups").glob("*.tar.gz")).unlink()


def empty_mirror(folder: Path) -> None:
    next((folder / "mirror").iterdir()).write_bytes(b"")


def start_twice(folder: Path) -> None:
    ledger = folder / "ledger.jsonl"
    lines = ledger.read_text().splitlines(keepends=True)
    ledger.write_text("".join([*lines, lines[0]]))


def repack_without_a_file(folder: Path) -> None:
    """Make an archive that is sound, agrees with mirror, report and its own checksums, and lacks a file of the data."""
    archive = next((folder / "backups").glob("*.tar.gz"))
    dump = folder / "backups" / archive.name.removesuffix(".tar.gz")
    (dump / "data" / "empty.dat").unlink()
    sums = (dump / "SHA256SUMS").read_bytes().splitlines(keepends=True)
    (dump / "SHA256SUMS").write_bytes(b"".join(line for line in sums if not line.endswith(b"/empty.dat\n")))
    subprocess.run(["tar", "-czf", archive, "-C", dump, "."], check=True)
    shutil.copy(archive, folder / "mirror" / archive.name)
    report = json.loads((folder / "report.json").read_text())
    raw = archive.read_bytes()
    files = {"files_dumped": len(sums) - 1, "files_verified": len(sums) - 1}
    report |= files | {"archive_bytes": len(raw), "archive_sha256": hashlib.sha256(raw).hexdigest()}
    (folder / "report.json").write_text(json.dumps(report))


def observed(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        path = folder / "observed.json"
        told = json.loads(path.read_text())
        change(told)
        path.write_text(json.dumps(told))

    return apply


def run_of(told: dict[str, Any], job: str) -> dict[str, Any]:
    return next(run for run in told["runs"] if run["job"] == job)


CHANGES = {
    "a bit of the archive is different": change_archive,
    "there is no archive": remove_archive,
    "the archive lacks a file and says nothing of it": repack_without_a_file,
    "the mirror's copy is empty": empty_mirror,
    "an attempt started twice": start_twice,
    "a run is hidden": observed(lambda told: told["runs"].remove(run_of(told, "add-order"))),
    "a run of needs is hidden": observed(lambda told: told["runs"].remove(run_of(told, "verify"))),
    "a firing is hidden": observed(lambda told: told["firings"].pop()),
    "a firing is there twice": observed(lambda told: told["firings"].append(told["firings"][0])),
    "a firing has no verdict": observed(lambda told: told["firings"][0].update(verdict=None)),
    "a run failed": observed(lambda told: run_of(told, "archive").update(state="failed")),
    "the mirror took two attempts": observed(lambda told: run_of(told, "mirror")["attempts"].pop(0)),
    "the tape did not time out": observed(lambda told: run_of(told, "tape")["attempts"][0].update(outcome="failed")),
    "a job began before what it needs": observed(
        lambda told: run_of(told, "report").update(claimed_at=run_of(told, "dump")["claimed_at"])
    ),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_the_comparison_notices(copy, change):
    change(copy)

    process = demo(copy, "--check")

    assert process.returncode == 1
    assert "wrong" in process.stdout
    assert process.stderr == ""
