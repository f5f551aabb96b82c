"""Triggers that have nothing ahead any more: allowed, and warned of."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from scheduler.definitions.load import load

NOW = datetime(2026, 3, 1, tzinfo=UTC)
PAST = "is in the past: the trigger fires no more"


@pytest.mark.parametrize(
    ("trigger", "said"),
    [
        ('{at: "2026-02-01 12:00"}', f"f.yaml:3:44: jobs.a.triggers[0].at: {PAST}"),
        ('{at: ["2026-02-01 12:00", "2026-03-02 12:00"]}', None),
        ('{every: 1d, ends_at: "2026-02-01 12:00"}', f"f.yaml:3:60: jobs.a.triggers[0].ends_at: {PAST}"),
        ('{every: 1d, ends_at: "2026-03-02 12:00"}', None),
    ],
)
def test_what_is_over_is_warned_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trigger: str, said: str | None
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("f.yaml").write_text(f"version: 1\njobs:\n  a: {{run: {{command: [x]}}, triggers: [{trigger}]}}\n")

    assert [str(found) for found in load([Path("f.yaml")], now=NOW).warnings] == ([] if said is None else [said])
