"""``scheduler simulate``: the ledger that definitions would give."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from datetime import datetime, timedelta
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from scheduler.cli.definitions import Files
from scheduler.cli.shared import Json, load

if TYPE_CHECKING:
    from scheduler.definitions.model import Definitions
    from scheduler.simulation.assumptions import Assumptions
    from scheduler.simulation.simulate import Simulation

_ROWS: Final = 50
_ROWS_JSON: Final = 10_000
_BUSIEST: Final = 5
_FIRING_COLUMNS: Final = ("fires_at", "job", "trigger", "verdict", "count", "planned_at", "run", "reason")
_RUN_COLUMNS: Final = ("id", "flow", "state", "attempts", "started_at", "finished_at", "reason")


def simulate(
    context: typer.Context,
    *,
    files: Files,
    since: Annotated[str | None, typer.Option("--from", help="From this time on (default: now).")] = None,
    until: Annotated[str | None, typer.Option("--to", help="Before this time (default: a day later).")] = None,
    outages: Annotated[
        list[str] | None,
        typer.Option("--outage", metavar="A/B", help="Nothing of the scheduler runs from A to B; repeatable."),
    ] = None,
    run_time: Annotated[str, typer.Option("--run-time", help="How long an attempt takes.")] = "1m",
    durations: Annotated[
        list[str] | None, typer.Option("--duration", metavar="JOB=5m", help="… of one job; repeatable.")
    ] = None,
    failing: Annotated[
        list[str] | None,
        typer.Option("--fail", metavar="JOB[=N]", help="Each run of JOB fails, or its first N attempts; repeatable."),
    ] = None,
    limit: Annotated[
        int | None, typer.Option("--limit", min=0, help="At most this many firings and runs (50; with --json 10000).")
    ] = None,
    json: Json = False,
) -> None:
    """Examples:

      scheduler simulate jobs.yaml --from 2026-03-01T00:00:00Z --to 2026-03-08T00:00:00Z

      scheduler simulate jobs.yaml --outage 2026-03-01T01:50:00Z/2026-03-01T03:30:00Z

      scheduler simulate jobs.yaml --duration backup=90m --fail report=2 --json

    Print which firings there would be, what would become of them, and how many runs start in each minute.
    Nothing is run and no database is needed: the clock is virtual, the rules are the real ones. Definitions count as
    applied at --from; executors always have a free slot.
    """
    from scheduler.cli.definitions import say_warnings
    from scheduler.cli.output import print_line
    from scheduler.clock import SystemClock
    from scheduler.definitions.load import load as load_definitions
    from scheduler.simulation.simulate import simulate as run_simulation

    settings, now = load(context).settings, SystemClock().now()
    definitions = load_definitions(files, settings=settings.job_defaults(), now=now)
    times = _Times(settings.timezone, now, since, until, outages or [])
    assumptions = _assumptions(definitions, times, run_time, durations or [], failing or [])
    assumptions = replace(assumptions, per_minute=settings.catch_up.per_minute)
    try:
        calendars = definitions.resolved_calendars
        found = run_simulation(definitions.jobs, definitions.tenant, assumptions, calendars)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    if json:
        _print_json(definitions, assumptions, found, _ROWS_JSON if limit is None else limit)
    else:
        say_warnings(definitions)
        _print(assumptions, found, _ROWS if limit is None else limit)
        for job, _, said in _waits(definitions):
            print_line(f"not foreseen: {job} waits for {said}")


class _Times:
    """The times given on the command line."""

    def __init__(self, zone: str, now: datetime, since: str | None, until: str | None, outages: Sequence[str]) -> None:
        from scheduler.cli.moments import read_instant

        self.since = now.replace(microsecond=0) if since is None else read_instant(since, zone, "--from")
        self.until = self.since + timedelta(days=1) if until is None else read_instant(until, zone, "--to")
        self.outages = []
        for outage in outages:
            begin, slash, end = outage.partition("/")
            if not slash:
                raise typer.BadParameter("--outage: give begin and end, as in 2026-03-01T01:50Z/2026-03-01T03:30Z")
            self.outages.append((read_instant(begin, zone, "--outage"), read_instant(end, zone, "--outage")))
        self._check()

    def _check(self) -> None:
        from scheduler.cli.output import rfc3339

        if self.until <= self.since:
            words = f"--to: {rfc3339(self.until)} is not later than --from, which is {rfc3339(self.since)}"
            raise typer.BadParameter(words)
        for begin, end in self.outages:
            if not self.since <= begin < end < self.until:
                words = f"--outage: {rfc3339(begin)}/{rfc3339(end)} must end after it begins, between --from and --to: "
                raise typer.BadParameter(f"{words}{rfc3339(self.since)}, {rfc3339(self.until)}")


def _assumptions(
    definitions: "Definitions", times: _Times, run_time: str, durations: Sequence[str], failing: Sequence[str]
) -> "Assumptions":
    from scheduler.cli.moments import read_pairs, read_span
    from scheduler.simulation.assumptions import ALWAYS, Assumptions

    fails: dict[str, int] = {}
    for job, count in read_pairs(failing, definitions.jobs, "--fail"):
        if count and not (count.isascii() and count.isdecimal()):
            raise typer.BadParameter(f"--fail: {count!r} is no number of attempts, as in {job}=2")
        fails[job] = min(int(count[:7]), ALWAYS) if count else ALWAYS
    pairs = read_pairs(durations, definitions.jobs, "--duration")
    return Assumptions(
        since=times.since,
        until=times.until,
        outages=tuple(times.outages),
        run_time=read_span(run_time, "--run-time"),
        run_times={job: read_span(span, "--duration") for job, span in pairs},
        failing=fails,
    )


def _print_json(definitions: "Definitions", assumptions: "Assumptions", found: "Simulation", limit: int) -> None:
    from scheduler.cli.load_chart import busiest, by_minute
    from scheduler.cli.output import print_json

    load = found.tally.load
    print_json(
        {
            "tenant": definitions.tenant,
            "from": assumptions.since,
            "to": assumptions.until,
            "jobs": {
                job: {"firings": found.tally.verdicts.get(job, {}), "runs": found.tally.runs.get(job, {})}
                for job in definitions.jobs
            },
            "firings": [asdict(row) for row in islice(found.firings(), limit)],
            "firings_left_off": max(0, found.firing_rows - limit),
            "runs": [asdict(row) for row in islice(found.runs(), limit)],
            "runs_left_off": max(0, found.run_rows - limit),
            "load": {
                "starts": load.total(),
                "busiest": [{"minute": minute, "starts": starts} for minute, starts in busiest(load, _BUSIEST)],
                "per_minute": by_minute(load),
            },
            "waits_for": [{"job": job, "trigger": key, "waits_for": said} for job, key, said in _waits(definitions)],
            "warnings": [said.detail() for said in definitions.warnings],
        }
    )


def _waits(definitions: "Definitions") -> Iterator[tuple[str, str, str]]:
    """Yield job, key and words of each trigger that waits for events: what comes of it is not foreseen."""
    from scheduler.domain.event_words import say_wait
    from schemas.trigger_model import TimeTriggerModel

    for job, spec in definitions.jobs.items():
        for trigger in spec.triggers:
            if not isinstance(trigger, TimeTriggerModel):
                yield job, trigger.key, say_wait(trigger)


def _print(assumptions: "Assumptions", found: "Simulation", limit: int) -> None:
    from scheduler.cli.load_chart import busiest, chart
    from scheduler.cli.output import print_line, print_rows, rfc3339

    firings = (asdict(row) for row in islice(found.firings(), limit))
    runs = (asdict(row) for row in islice(found.runs(), limit))
    for what, rows, count, columns in (
        ("firings", firings, found.firing_rows, _FIRING_COLUMNS),
        ("runs", runs, found.run_rows, _RUN_COLUMNS),
    ):
        if limit:
            print_rows(rows, columns, empty=f"no {what}")
        if count > limit:
            print_line(f"{count - limit:,} more {what}; --limit shows more")
    print_rows(_by_job(found), ("job", "firings", "verdicts", "runs"), empty="no jobs that fire")
    for line in chart(found.tally.load, assumptions.since, assumptions.until):
        print_line(line)
    print_line("busiest minutes")
    for minute, starts in busiest(found.tally.load, _BUSIEST):
        print_line(f"{rfc3339(minute)}  {starts}")


def _by_job(found: "Simulation") -> Iterator[dict[str, Any]]:
    names = dict.fromkeys([*found.tally.verdicts, *found.tally.runs])
    for job in names:
        verdicts, runs = found.tally.verdicts.get(job), found.tally.runs.get(job)
        yield {
            "job": job,
            "firings": verdicts.total() if verdicts else 0,
            "verdicts": [f"{count:,} {word}" for word, count in (verdicts or {}).items()],
            "runs": [f"{count:,} {word}" for word, count in (runs or {}).items()],
        }


def register(app: typer.Typer) -> None:
    app.command()(simulate)
