"""What ``scheduler doctor`` finds on a machine, in directories made for it."""

import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from scheduler.cli.doctor_machine import look_at_machine
from scheduler.cli.findings import Finding, Health

NOW = datetime(2026, 6, 1, tzinfo=UTC)


def look(data_dir: Path, now: datetime = NOW, *, needs_postgres: bool = True) -> dict[str, Finding]:
    return {finding.name: finding for finding in look_at_machine(data_dir, now, needs_postgres=needs_postgres)}


def test_everything_has_a_line_and_trouble_has_advice(tmp_path: Path):
    found = look(tmp_path)

    assert {"python", "uvloop", "time zones", "holidays", "data directory", "disk", "embedded PostgreSQL", "setpriv",
            "sandbox", "open files", "inotify"} == found.keys()  # fmt: skip
    assert all((finding.advice is None) == (finding.health is Health.OK) for finding in found.values())
    assert all("\n" not in finding.found for finding in found.values())


def test_a_data_directory_that_is_not_there_yet_is_well(tmp_path: Path):
    finding = look(tmp_path / "a" / "b")["data directory"]

    assert (Health.OK, f"{tmp_path / 'a' / 'b'} is made at the first start") == (finding.health, finding.found)


def test_a_file_in_the_place_of_the_data_directory_fails(tmp_path: Path):
    (tmp_path / "file").touch()

    assert Health.FAIL is look(tmp_path / "file")["data directory"].health
    assert Health.FAIL is look(tmp_path / "file" / "below")["data directory"].health


def test_a_data_directory_open_to_others_is_warned_of(tmp_path: Path):
    tmp_path.chmod(0o777)

    finding = look(tmp_path)["data directory"]

    assert (Health.WARN, f"chmod go-w {tmp_path}") == (finding.health, finding.advice)


def test_programs_are_looked_up_on_the_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", os.fspath(tmp_path))
    before = look(tmp_path)["setpriv"]
    (tmp_path / "setpriv").touch(mode=0o755)

    assert (Health.WARN, Health.OK) == (before.health, look(tmp_path)["setpriv"].health)


def test_a_data_directory_of_another_version_fails_where_it_is_needed(tmp_path: Path):
    (tmp_path / "postgres").mkdir()
    (tmp_path / "postgres" / "PG_VERSION").write_text("9\n")

    assert Health.FAIL is look(tmp_path)["embedded PostgreSQL"].health
    assert Health.OK is look(tmp_path, needs_postgres=False)["embedded PostgreSQL"].health


def test_old_time_zone_data_are_warned_of(tmp_path: Path):
    assert Health.OK is look(tmp_path)["time zones"].health
    assert Health.WARN is look(tmp_path, NOW.replace(year=2040))["time zones"].health
