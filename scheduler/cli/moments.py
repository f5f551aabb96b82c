"""Times and job=value pairs on the command line."""

import re
from collections.abc import Iterable, Iterator
from datetime import datetime, time, timedelta
from typing import Final

import typer

_DAY: Final = re.compile(r"\d{4}-\d{2}-\d{2}")


def read_instant(text: str, zone: str, option: str, *, of_day: time = time.min) -> datetime:
    """Return the instant that ``text`` says, a wall time in ``zone`` when it has no offset.

    A day alone stands for its moment ``of_day``.
    """
    from scheduler.domain.zones import to_instant
    from scheduler.domain.zones import zone as find_zone
    from schemas.spec_model import parse_moment

    try:
        moment = parse_moment(f"{text} {of_day.isoformat()}" if _DAY.fullmatch(text) else text)
        return moment if moment.tzinfo is not None else to_instant(moment, find_zone(zone))
    except ValueError as error:
        raise typer.BadParameter(f"{option}: {error}") from None


def read_time(text: str | None, zone: str | None, option: str) -> datetime | None:
    """Return the instant that ``option`` names: how long ago, a time or the beginning of a day in ``zone``.

    ``zone`` None is that of this machine.
    """
    from scheduler.clock import SystemClock
    from schemas.durations import parse_duration
    from schemas.spec_model import parse_moment

    if text is None:
        return None
    try:
        return SystemClock().now() - parse_duration(text)
    except ValueError:
        pass
    try:
        if zone is None:
            return parse_moment(f"{text} 00:00" if _DAY.fullmatch(text) else text).astimezone()
        return read_instant(text, zone, option)
    except (ValueError, typer.BadParameter):
        raise typer.BadParameter(
            f"{option}: {text!r} is no time, no day and no duration; write 2h, 2026-03-01 or 2026-03-01T02:00:00Z"
        ) from None


def read_span(text: str, option: str) -> timedelta:
    from schemas.durations import parse_duration

    try:
        return parse_duration(text)
    except ValueError as error:
        raise typer.BadParameter(f"{option}: {error}") from None


def read_pairs(texts: Iterable[str], jobs: Iterable[str], option: str) -> Iterator[tuple[str, str]]:
    """Yield job and value of each ``JOB=VALUE``, the value empty when there is none."""
    from scheduler.definitions.problems import suggest

    known = set(jobs)
    for text in texts:
        job, _, value = text.partition("=")
        if job not in known:
            raise typer.BadParameter(f"{option}: there is no job {job}; {suggest(job, known)}")
        yield job, value
