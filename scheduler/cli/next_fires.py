"""``scheduler next``: when something fires."""

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from scheduler.cli.shared import Json, ask, load

if TYPE_CHECKING:
    from scheduler.config import Settings
    from scheduler.domain.planned import PlannedInstant, Schedule
    from scheduler.store.reading import Row
    from scheduler.store.stores import Store
    from schemas.trigger_spec import TriggerSpec


def next_fires(
    context: typer.Context,
    *,
    expression: Annotated[
        str | None, typer.Argument(metavar="[EXPR]", help='Cron expression, as in "0 2 * * *".')
    ] = None,
    timezone: Annotated[str | None, typer.Option("--timezone", help="IANA name (default: the setting, UTC).")] = None,
    start: Annotated[str | None, typer.Option("--from", help="Fires after this time (default: now).")] = None,
    count: Annotated[int, typer.Option("--count", "-n", min=1, max=10_000, help="How many.")] = 5,
    day_match: Annotated[
        Literal["any", "all"] | None,
        typer.Option("--day-match", help="When both day fields are given: either (the default) or both."),
    ] = None,
    seconds: Annotated[bool, typer.Option("--seconds", help="Six fields, seconds first.")] = False,
    trigger: Annotated[str | None, typer.Option("--trigger", help="A whole trigger as JSON.")] = None,
    job: Annotated[str | None, typer.Option("--job", help="The triggers of this job, from the database.")] = None,
    json: Json = False,
) -> None:
    """Examples:

      scheduler next "0 2 * * *" --timezone Europe/Berlin

      scheduler next --trigger '{"every": "1 month"}' --count 12

      scheduler next --job backup --json

    Print when an expression, a trigger or a job fires next. --json gives {"fires": […]} in UTC.
    """
    from scheduler.cli.output import print_json, print_line, rfc3339
    from scheduler.clock import SystemClock

    if [expression, trigger, job].count(None) != 2:  # noqa: PLR2004 - one of three is given
        raise typer.BadParameter("give exactly one of EXPR, --trigger and --job")
    zone = timezone or load(context).settings.timezone
    since = _instant(start, zone) if start is not None else SystemClock().now()
    if job is not None:
        schedules = ask(context, _Job(job))
    else:
        words: dict[str, Any] = {"cron": expression, "seconds": seconds}
        words |= {} if day_match is None else {"day_match": day_match}
        spec = _trigger(words if trigger is None else _parsed(trigger))
        schedules = [_schedule(spec, zone, since)]
        _warn(spec, zone, since)
    fires = _merged(schedules, since, count)
    if json:
        print_json({"fires": [rfc3339(at.fires_at) for at in fires]})
        return
    for at in fires:
        print_line(f"{at.wall_time.replace('T', ' ')} {at.zone}  {rfc3339(at.fires_at)}")
    if not fires:
        print_line("it fires no more")


class _Job:
    """Asks for the schedules of a job's triggers."""

    def __init__(self, name: str) -> None:
        self._name = name

    async def __call__(self, store: "Store", settings: "Settings") -> "list[Schedule]":
        from scheduler.store.reading import get_job

        found: Row = await get_job(store, settings.tenant, self._name)
        return [
            _schedule(
                _trigger(row["spec"]), found["spec"]["timezone"], row["anchor_at"], f"{settings.tenant}/{self._name}"
            )
            for row in found["triggers"]
            if row["enabled"]
        ]


def _parsed(text: str) -> dict[str, Any]:
    import json

    try:
        value = json.loads(text)
    except ValueError as error:
        raise typer.BadParameter(f"--trigger is no JSON: {error}") from None
    if not isinstance(value, dict):
        raise typer.BadParameter('--trigger must be a JSON object, as in {"every": "15m"}')
    return value


def _trigger(words: dict[str, Any]) -> "TriggerSpec":
    from pydantic import TypeAdapter, ValidationError

    from schemas.trigger_spec import TriggerSpec

    adapter: TypeAdapter[TriggerSpec] = TypeAdapter(TriggerSpec)
    try:
        return adapter.validate_python(words)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        path = ".".join(map(str, first["loc"][1:]))
        message = first["msg"].removeprefix("Value error, ")
        raise typer.BadParameter(f"{path}: {message}" if path else message) from None


def _schedule(trigger: "TriggerSpec", zone: str, anchor: datetime, hash_key: str = "") -> "Schedule":
    from scheduler.domain.schedule import build_schedule

    try:
        return build_schedule(trigger, timezone=trigger.timezone or zone, hash_key=hash_key, anchor=anchor)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def _warn(trigger: "TriggerSpec", zone: str, now: datetime) -> None:
    """Warn of both day fields; the triggers of a job were warned of when they were applied."""
    from scheduler.cli.output import say_warning
    from scheduler.domain.cron_days import warn_of_union
    from schemas.trigger_spec import CronTrigger

    if isinstance(trigger, CronTrigger):
        said = warn_of_union(trigger, timezone=trigger.timezone or zone, hash_key="", now=now)
        if said is not None:
            say_warning(said)


def _instant(text: str, zone: str) -> datetime:
    from scheduler.domain.zones import to_instant
    from scheduler.domain.zones import zone as find_zone
    from schemas.spec_model import parse_moment

    try:
        moment = parse_moment(text)
        return moment if moment.tzinfo is not None else to_instant(moment, find_zone(zone))
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def _merged(schedules: "list[Schedule]", since: datetime, count: int) -> "list[PlannedInstant]":
    """Return the first ``count`` instants of all schedules together, equal ones once."""
    found: list[PlannedInstant] = []
    while len(found) < count:
        candidates = [at for schedule in schedules if (at := schedule.next_after(since)) is not None]
        if not candidates:
            break
        found.append(min(candidates))
        since = found[-1].fires_at
    return found


def register(app: typer.Typer) -> None:
    app.command(name="next")(next_fires)
