"""Triggers that wait for ends of jobs that are not there, or of their own."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from scheduler.definitions.load import load

WORK = "  work: {run: {command: [x]}}\n"
NOBODY = 'f.yaml:4:53: jobs.a.triggers[0].ended.job: there is no job wrok in these files; did you mean "work"?'

OWN = "f.yaml:4:53: jobs.a.triggers[0].ended.job: a trigger never fires for its own job"
NOW = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("trigger", "said"),
    [
        ("{ended: {job: wrok, state: failed}}", NOBODY),
        ("{ended: {job: a, state: failed}}", OWN),
        ("{ended: {job: work, state: failed}}", None),
        ("{ended: {job: 'wrok*', state: failed}}", None),
        ("{any_of: [{ended: {job: wrok, state: failed}}, {event: {topic: a}}]}",
         NOBODY.replace("53", "63").replace("[0]", "[0].any_of[0]")),
    ],
)  # fmt: skip
def test_a_job_that_nothing_ends_for_it_is_warned_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trigger: str, said: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("f.yaml").write_text(f"version: 1\njobs:\n{WORK}  a: {{run: {{command: [x]}}, triggers: [{trigger}]}}\n")

    assert [str(found) for found in load([Path("f.yaml")], now=NOW).warnings] == ([] if said is None else [said])
