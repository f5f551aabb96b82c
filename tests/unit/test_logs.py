"""Log lines: one fact each, in a fixed form, without secrets or control characters."""

import json
import logging
from base64 import b64encode
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
import structlog

from scheduler.clock import VirtualClock
from scheduler.logs import Redactor, configure, printable

SECRET = "correct horse/battery"
URL = "amqp://me:correct%20horse%2Fbattery@host/x"
CLOCK = VirtualClock(datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=UTC))


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    structlog.reset_defaults()
    root.handlers[:], root.level = handlers, level


def test_a_json_line_begins_with_time_level_logger_and_message(capsys: pytest.CaptureFixture[str]) -> None:
    configure(CLOCK, level="info", log_format="json")

    structlog.get_logger().info("run.settled", run_id="r", count=3)

    line = capsys.readouterr().out
    assert list(json.loads(line).items()) == [
        ("timestamp", "2026-03-01T12:00:00.123Z"),
        ("level", "info"),
        ("logger", "test_logs"),
        ("message", "run.settled"),
        ("run_id", "r"),
        ("count", 3),
    ]
    assert line.count("\n") == 1


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_a_secret_is_masked_wherever_it_turns_up(capsys: pytest.CaptureFixture[str], log_format: str) -> None:
    configure(CLOCK, level="info", log_format=log_format, secrets=[URL])  # type: ignore[arg-type]
    log = structlog.get_logger()

    log.warning(
        "x", error=f"cannot open {URL}", nested={"a": [SECRET]}, password="p4ss", coded=b64encode(SECRET.encode())
    )
    try:
        local = SECRET
        raise ValueError(f"refused: {local}")
    except ValueError:
        log.exception("y")
    logging.getLogger("aiormq").warning("lost %s", URL)

    out = capsys.readouterr().out
    assert "***" in out
    for form in (SECRET, "correct%20horse", b64encode(SECRET.encode()).decode().rstrip("="), "p4ss"):
        assert form not in out


def test_accounts_of_unknown_urls_are_masked_too() -> None:
    assert Redactor()("at https://user:pw@host/path and amqp://host") == "at https://***@host/path and amqp://host"


def test_levels_below_the_threshold_are_dropped_and_lines_are_counted(capsys: pytest.CaptureFixture[str]) -> None:
    counted: list[tuple[str, str]] = []
    configure(CLOCK, level="warning", log_format="json", on_line=lambda name, level: counted.append((name, level)))

    structlog.get_logger().info("quiet")
    structlog.get_logger().error("loud")

    assert counted == [("loud", "error")]
    assert "quiet" not in capsys.readouterr().out


def test_control_characters_reach_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    configure(CLOCK, level="info", log_format="console")

    structlog.get_logger().info("x", output="\x1b[2Jred\nline\u202e")

    assert "\x1b[2J" not in (out := capsys.readouterr().out)
    assert "\\x1b[2Jred\\nline" in out


def test_printable_keeps_ordinary_text() -> None:
    assert printable("grün 日本 a\tb\x00") == "grün 日本 a\\tb\\x00"
