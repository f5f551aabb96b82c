"""Lines about single runs: the same form as all others, at a fraction of their cost, and as loud as asked for."""

import json
import logging
from collections.abc import Iterator
from datetime import UTC, datetime
from uuid import UUID

import pytest
import structlog

from scheduler import run_lines
from scheduler.clock import VirtualClock
from scheduler.logs import configure, current

CLOCK = VirtualClock(datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=UTC))
RUN = UUID("018f0000-0000-7000-8000-000000000002")
KEYS = (*run_lines.KEYS, "pool")
ROW = ("default", "nightly", RUN, 2, 12.345, RUN.hex, "gpu")


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    root, state = logging.getLogger(), current()
    before = list(root.handlers), root.level, state.each_run, state.threshold, state.block
    yield
    structlog.reset_defaults()
    root.handlers[:], root.level, state.each_run, state.threshold, state.block = before


@pytest.mark.parametrize("say", [run_lines.say, run_lines.say_plain])
def test_a_line_for_each_row_begins_as_every_line_does(capsys: pytest.CaptureFixture[str], say) -> None:
    configure(CLOCK, level="info", log_format="json")

    say("attempt.succeeded", "executor", KEYS, [ROW, ROW])

    first, second = capsys.readouterr().out.splitlines()
    assert first == second
    assert list(json.loads(first).items()) == [
        ("timestamp", "2026-03-01T12:00:00.123Z"),
        ("level", "info"),
        ("logger", "executor"),
        ("message", "attempt.succeeded"),
        ("tenant", "default"),
        ("job_id", "nightly"),
        ("run_id", str(RUN)),
        ("attempt", 2),
        ("execution_time_ms", 12.345),
        ("trace_id", RUN.hex),
        ("pool", "gpu"),
    ]


def test_text_is_escaped_and_what_is_not_known_is_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    configure(CLOCK, level="info", log_format="json")

    run_lines.say("run.failed", "recorder", ("job_id", "reason", "retry"), [(None, 'a "b"\n\x00\u2028', True)])

    line = capsys.readouterr().out
    assert line.count("\n") == 1
    found = json.loads(line)
    assert (found["reason"], found["retry"], "job_id" in found) == ('a "b"\n\x00\u2028', True, False)


def test_a_secret_in_a_row_is_masked(capsys: pytest.CaptureFixture[str]) -> None:
    configure(CLOCK, level="info", log_format="json", secrets=['say "please" now', "amqp://me:hunter2-hunter2@mq/"])

    for text in ('it says say "please" now', "hunter2-hunter2", "at amqp://other:pw@mq"):
        run_lines.say("run.failed", "recorder", ("reason",), [(text,)])

    out = capsys.readouterr().out
    assert out.count("***") == 3
    assert not any(secret in out for secret in ("please", "hunter2", ":pw@"))


@pytest.mark.parametrize(
    ("level", "each_run", "heard"),
    [
        ("info", True, {"attempt.started", "run.retried", "run.failed"}),
        ("info", False, {"run.retried", "run.failed"}),
        ("warning", True, {"run.retried", "run.failed"}),
        ("error", True, {"run.failed"}),
    ],
)
def test_what_went_wrong_is_said_whatever_is_said_of_the_rest(
    capsys: pytest.CaptureFixture[str], level: str, heard: set[str], *, each_run: bool
) -> None:
    counted: list[tuple[str, str, int]] = []
    configure(
        CLOCK,
        level=level,
        log_format="json",
        each_run=each_run,
        on_line=lambda name, level, count=1, /: counted.append((name, level, count)),
    )

    for name in ("attempt.started", "run.retried", "run.failed"):
        run_lines.say(name, "x", KEYS, [ROW, ROW])

    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {line["message"] for line in lines} == heard
    assert counted == [(name, run_lines.NAMES[name][0], 2) for name in ("attempt.started", "run.retried", "run.failed")
                       if name in heard]  # fmt: skip


def test_on_a_terminal_they_look_like_the_others(capsys: pytest.CaptureFixture[str]) -> None:
    configure(CLOCK, level="info", log_format="console")

    run_lines.say_plain("attempt.started", "executor", KEYS, [ROW])

    line = capsys.readouterr().out
    assert "attempt.started" in line
    assert "[executor" in line or "logger=executor" in line
    assert "job_id=nightly" in line
