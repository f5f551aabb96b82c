"""What ``trigger --wait`` says on a terminal while it waits."""

from uuid import UUID

import pytest

from scheduler.cli.waiting_line import waiting_text

ONE, TWO, THREE = (UUID(int=number) for number in (1, 2, 3))


def row(job: str, state: str | None, run: UUID | None = None, verdict: str | None = "started") -> dict[str, object]:
    return {"job": job, "state": state, "run_id": run, "verdict": verdict}


@pytest.mark.parametrize(
    ("rows", "progress", "text"),
    [
        ([row("copy", None, verdict=None)], {}, "asked for"),
        ([row("copy", "ready", ONE)], {}, "ready"),
        (
            [row("copy", "running", ONE)],
            {ONE: {"done": 3.0, "total": 10.0, "message": "blobs"}},
            "running; copy: 3 of 10 (30 %) blobs",
        ),
        (
            [row("copy", "running", ONE), row("mail", "succeeded", TWO), row("sum", "waiting", THREE)],
            {ONE: {"done": 7.0, "total": None, "message": ""}},
            "1 of 3 over; 1 running; 1 waiting; copy: 7",
        ),
        ([row("copy", "failed", ONE), row("mail", None, None, "duplicate")], {}, "2 of 2 over"),
    ],
)
def test_line_says_what_is_waited_for(rows, progress, text):
    seen = {UUID(int=100 + number): found for number, found in enumerate(rows)}

    assert waiting_text(len(rows), seen, progress) == text
