"""``scheduler next``: when something fires."""

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from scheduler.cli.shared import Json, ask, load
from schemas.vocabulary import FoldRule, GapRule

if TYPE_CHECKING:
    from collections.abc import Mapping

    from scheduler.config import Settings
    from scheduler.domain.calendar import Calendar
    from scheduler.domain.merged import Merged
    from scheduler.domain.planned import Schedule
    from scheduler.store.job_times import JobTimes
    from scheduler.store.stores import Store
    from schemas.job_spec import JobSpec
    from schemas.trigger_spec import TimeTriggerSpec


def next_fires(
    context: typer.Context,
    *,
    expression: Annotated[
        str | None, typer.Argument(metavar="[EXPR]", help='Cron expression, as in "0 2 * * *".')
    ] = None,
    timezone: Annotated[str | None, typer.Option("--timezone", help="IANA name (default: the setting, UTC).")] = None,
    start: Annotated[str | None, typer.Option("--from", help="Fires after this time or day (default: now).")] = None,
    count: Annotated[int, typer.Option("--count", "-n", min=1, max=10_000, help="How many.")] = 5,
    day_match: Annotated[
        Literal["any", "all"] | None,
        typer.Option("--day-match", help="EXPR: when both day fields are given, either (the default) or both."),
    ] = None,
    seconds: Annotated[bool, typer.Option("--seconds", help="EXPR: six fields, seconds first.")] = False,
    gap: Annotated[
        GapRule | None, typer.Option("--gap", help="A wall time that the clock skips (default: run_after).")
    ] = None,
    fold: Annotated[
        FoldRule | None, typer.Option("--fold", help="A wall time that comes twice (default: first).")
    ] = None,
    trigger: Annotated[str | None, typer.Option("--trigger", help="A whole trigger as JSON.")] = None,
    job: Annotated[str | None, typer.Option("--job", help="The triggers of this job, from the database.")] = None,
    json: Json = False,
) -> None:
    """Examples:

      scheduler next "0 2 * * *" --timezone Europe/Berlin

      scheduler next --trigger '{"every": "1 month"}' --count 12

      scheduler next "30 1 * * *" --timezone America/New_York --from 2026-10-31 --fold both

      scheduler next --job backup --json

    Print when an expression, a trigger or a job fires next: wall time and zone, the instant in UTC, and what
    a change of the clock does to it; then what is left out up to there, what triggers wait for that wait for
    events, and why it stops if it does. max_fires is counted from --from, with --job what is left of it. --json
    gives {"fires": […]} in UTC, "notes" by instant of those whose wall time a change of the clock moves or
    repeats, and "waits_for" where there is such a trigger.
    """
    from scheduler.cli.moments import read_instant
    from scheduler.cli.output import print_json, rfc3339
    from scheduler.clock import SystemClock
    from scheduler.domain.clock_notes import note_of
    from scheduler.domain.merged import merge

    if [expression, trigger, job].count(None) != 2:  # noqa: PLR2004 - one of three is given
        raise typer.BadParameter("give exactly one of EXPR, --trigger and --job")
    if expression is None and (seconds or day_match):
        raise typer.BadParameter("--seconds and --day-match go with EXPR; a trigger says them itself")
    if job is not None and (gap or fold):
        raise typer.BadParameter("--gap and --fold go with EXPR and --trigger; a stored job has its own")
    zone = timezone if timezone is not None else load(context).settings.timezone
    now = SystemClock().now()
    since = read_instant(start, zone, "--from") if start is not None else now
    if job is not None:
        times = _times_of_job(context, job)
    else:
        words: dict[str, Any] = {"cron": expression, "seconds": seconds} if trigger is None else _parsed(trigger)
        words |= {} if day_match is None else {"day_match": day_match}
        times, now = _times_of(context, _spec(words, zone, {"gap": gap, "fold": fold}), since), since
    found = merge(times.sources, since, now, count)
    if json:
        notes = {rfc3339(at.fires_at): note for at in found.fires if (note := note_of(at))}
        answer: dict[str, Any] = {"fires": [rfc3339(at.fires_at) for at in found.fires]}
        answer |= {"notes": notes} if notes else {}
        print_json(answer | ({"waits_for": times.waits_for} if times.waits_for else {}))
    else:
        _print(found, times)


def _print(found: "Merged", times: "JobTimes") -> None:
    from scheduler.cli.output import print_line, rfc3339
    from scheduler.domain.clock_notes import note_of, say_left_out

    for at in found.fires:
        note = note_of(at)
        when = f"{at.wall_time.replace('T', ' ')} {at.zone}  {rfc3339(at.fires_at)}"
        print_line(when if note is None else f"{when}  {note}")
    if found.left_out:
        print_line(say_left_out(found.left_out))
    for wait in times.waits_for:
        print_line(f"waits for {wait}")
    if found.is_all and (times.sources or not times.waits_for):
        print_line(": ".join(["it fires no more", *([", ".join(times.ends)] if times.ends else [])]))


def _times_of_job(context: typer.Context, name: str) -> "JobTimes":
    """Return the times of a stored job, and warn of triggers that cannot be read.

    Raises:
        ConflictError: none of them can.
    """
    from scheduler.cli.output import say_warning
    from scheduler.errors import ConflictError
    from scheduler.store.job_times import read_job_times

    async def question(store: "Store", settings: "Settings") -> "JobTimes":
        return await read_job_times(store, settings.tenant, name)

    found = ask(context, question)
    if found.troubles and not found.sources:
        raise ConflictError(f"when {name} fires is not known: {'; '.join(found.troubles)}")
    for trouble in found.troubles:
        say_warning(f"job {name}: {trouble}")
    return found


def _times_of(context: typer.Context, spec: "JobSpec", since: datetime) -> "JobTimes":
    from scheduler.domain.clock_notes import ends_of
    from scheduler.domain.event_words import say_wait
    from scheduler.domain.merged import Limited
    from scheduler.store.job_times import JobTimes
    from schemas.trigger_model import TimeTriggerModel

    calendars = _calendars(context, spec)
    trigger = spec.triggers[0]
    if not isinstance(trigger, TimeTriggerModel):
        return JobTimes([], [], [], [say_wait(trigger)])
    source = Limited(_checked(trigger, spec, since, calendars), trigger.max_fires)
    _warn(spec, since)
    return JobTimes([source], list(ends_of(trigger, calendars)), [])


def _parsed(text: str) -> dict[str, Any]:
    """Read a trigger as it stands in a definitions file, YAML or JSON."""
    from scheduler.definitions.yaml_source import parse

    document = parse(text.encode(), "--trigger")
    if document.problems:
        raise typer.BadParameter(f"--trigger: {document.problems[0].message}")
    if not isinstance(document.value, dict):
        raise typer.BadParameter('--trigger must be a mapping, as in {every: 15m} or {"every": "15m"}')
    return document.value


def _spec(words: dict[str, Any], zone: str, dst: dict[str, Any]) -> "JobSpec":
    """Return a job with this trigger alone, read as a definitions file would be."""
    from pydantic import ValidationError

    from scheduler.definitions.explain import explain
    from scheduler.definitions.problems import show_path
    from schemas.job_spec import JobSpec

    job = {"run": {"handler": "none"}, "timezone": zone, "triggers": [words]}
    try:
        return JobSpec.model_validate(job | ({"dst": dst} if any(dst.values()) else {}))
    except ValidationError as error:
        first = next(explain(error, JobSpec))
        path = first.path[2:]
        raise typer.BadParameter(f"{show_path(path)}: {first.message}" if path else first.message) from None


def _calendars(context: typer.Context, spec: "JobSpec") -> "Mapping[str, Calendar]":
    """Return the calendar that the trigger names: a country needs no database, a name is the tenant's."""
    from scheduler.domain.calendar_sources import CalendarError, calendar_names, resolve_calendars
    from scheduler.store.calendars import load_calendars

    async def question(store: "Store", settings: "Settings") -> "Mapping[str, Calendar]":
        return await load_calendars(store, settings.tenant)

    try:
        known = resolve_calendars({}, [spec])
    except CalendarError as error:
        raise typer.BadParameter(f"calendar.country: {error}") from None
    return known if set(calendar_names([spec])) <= set(known) else ask(context, question)


def _checked(
    trigger: "TimeTriggerSpec", spec: "JobSpec", anchor: datetime, calendars: "Mapping[str, Calendar]"
) -> "Schedule":
    from scheduler.domain.schedule import TriggerError, build_schedule, check_trigger
    from scheduler.domain.zones import zone as find_zone

    zone = spec.timezone_of(trigger)
    try:
        find_zone(zone)
    except ValueError as error:
        raise typer.BadParameter(f"timezone: {error}") from None
    try:
        check_trigger(trigger, timezone=zone, calendars=calendars)
        return build_schedule(trigger, timezone=zone, hash_key="", anchor=anchor, calendars=calendars)
    except TriggerError as error:
        raise typer.BadParameter(f"{error.key}: {error}") from None
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def _warn(spec: "JobSpec", now: datetime) -> None:
    """Warn of what surprises; the triggers of a stored job were warned of when they were applied."""
    from scheduler.cli.output import say_warning
    from scheduler.domain.clock_notes import warn_of_dst
    from scheduler.domain.cron_days import warn_of_union
    from schemas.trigger_spec import CronTrigger

    trigger = spec.triggers[0]
    if not isinstance(trigger, CronTrigger):
        return
    days = warn_of_union(trigger, timezone=spec.timezone_of(trigger), hash_key="", now=now)
    rules = warn_of_dst(trigger, trigger.dst, hash_key="") if trigger.dst is not None else None
    for said in (days, rules):
        if said is not None:
            say_warning(said)


def register(app: typer.Typer) -> None:
    app.command(name="next")(next_fires)
