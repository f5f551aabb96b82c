"""``scheduler firings``: the ledger."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from scheduler.cli.shared import After, Json, Limit, ask, load

if TYPE_CHECKING:
    from scheduler.config import Settings
    from scheduler.store.ledger import Row
    from scheduler.store.stores import Store

_COLUMNS: Final = ("when", "job", "kind", "trigger", "verdict", "run_id", "reason")
_DAY: Final = timedelta(days=1)


def firings(
    context: typer.Context,
    *,
    job: Annotated[str | None, typer.Argument(metavar="[JOB]", help="Only firings of this job.")] = None,
    verdict: Annotated[
        list[str] | None, typer.Option("--verdict", help="Only with this verdict, or undecided; repeatable.")
    ] = None,
    since: Annotated[
        str | None, typer.Option("--since", help="Only due at this time or day or later, or so long ago.")
    ] = None,
    until: Annotated[
        str | None, typer.Option("--until", help="Only due before this time or day, or so long ago.")
    ] = None,
    stats: Annotated[
        bool, typer.Option("--stats", help="How many of each verdict, and how late they started; of a day, or --since.")
    ] = False,
    limit: Limit = 50,
    after: After = None,
    json: Json = False,
) -> None:
    """Examples:

      scheduler firings backup

      scheduler firings --verdict misfired --since 2d

      scheduler firings --stats --since 7d

    Print the ledger: every planned firing, what became of it and why. Of one job what was due latest comes first, of
    all jobs what was planned latest.
    """
    from scheduler.cli.moments import read_time

    zone = "UTC" if since is until is None else load(context).settings.timezone
    begin, end = read_time(since, zone, "--since"), read_time(until, zone, "--until")
    if stats:
        _print_stats(context, job, begin, end, as_json=json)
        return
    from scheduler.cli.output import print_json, print_rows
    from scheduler.cli.runs import next_page, page_start
    from scheduler.store.ledger import FiringFilter, list_firings

    which = FiringFilter(job, _verdicts(verdict), begin, end, page_start(after), limit)

    async def question(store: "Store", settings: "Settings") -> "list[Row]":
        return await list_firings(store, settings.tenant, which)

    found = ask(context, question)
    if json:
        print_json({"firings": found, "next": next_page(found, limit)})
        return
    print_rows(
        map(_readable, found), _COLUMNS, empty="no firings yet" if which == FiringFilter(job) else "no such firings"
    )


def _print_stats(
    context: typer.Context, job: str | None, since: datetime | None, until: datetime | None, *, as_json: bool
) -> None:
    from scheduler.cli.output import print_json, print_line, print_rows
    from scheduler.clock import SystemClock
    from scheduler.store.ledger import count_verdicts, measure_lateness

    end = until or SystemClock().now()
    begin = since or end - _DAY

    async def question(store: "Store", settings: "Settings") -> "tuple[list[Row], list[Row]]":
        counted = await count_verdicts(store, settings.tenant, job, since=begin, until=end)
        return counted, await measure_lateness(store, settings.tenant, job, since=begin, until=end)

    counted, lateness = ask(context, question)
    if as_json:
        print_json({"since": begin, "until": end, "triggers": counted, "lateness": lateness})
        return
    print_rows(
        [{"job": row["job"], "trigger": row["trigger"]} | row["verdicts"] for row in counted],
        ("job", "trigger", *_seen(counted)),
        empty="no firings in that time",
    )
    if lateness:
        print_line("from the planned instant to the first claim, seconds")
        print_rows(lateness, ("job", "started", "p50_s", "p99_s", "max_s"), empty="")


def _seen(counted: "Sequence[Row]") -> list[str]:
    """Return the verdicts that occur, in the order of the vocabulary."""
    from scheduler.store.ledger import UNDECIDED
    from schemas.vocabulary import Verdict

    found = {verdict for row in counted for verdict in row["verdicts"]}
    return [name for name in (*(verdict.value for verdict in Verdict), UNDECIDED) if name in found]


def _readable(row: "Row") -> dict[str, Any]:
    """Return a row for people: a stretch as first and last instant and how many, a held one with its time."""
    from scheduler.cli.output import cell

    when = cell(row["fires_at"])
    if row["to_at"] is not None:
        last = cell(row["to_at"])
        when = f"{when} … {last.split()[1] if last.split()[0] == when.split()[0] else last}"
    if row["count"] > 1:
        when = f"{when} ×{row['count']}"
    reason = row["reason"]
    if row["held_until"] is not None:
        reason = f"held by pacing until about {cell(row['held_until'])}"
    return row | {"when": when, "reason": reason}


def _verdicts(given: list[str] | None) -> list[str] | None:
    from scheduler.store.ledger import UNDECIDED
    from schemas.vocabulary import Verdict

    known = [*(verdict.value for verdict in Verdict), UNDECIDED]
    for verdict in given or ():
        if verdict not in known:
            raise typer.BadParameter(f"--verdict: {verdict!r} is none of {', '.join(known)}")
    return given


def register(app: typer.Typer) -> None:
    app.command()(firings)
