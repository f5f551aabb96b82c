"""``scheduler backfill`` and ``backfills …``: run planned instants of the past."""

from datetime import time
from typing import TYPE_CHECKING, Annotated, Any, Final
from uuid import UUID

import typer

from scheduler.cli.shared import After, Json, Limit, ask
from schemas.vocabulary import Priority

if TYPE_CHECKING:
    from scheduler.config import Settings
    from scheduler.store.backfill import Backfill, Instant
    from scheduler.store.reading import Row
    from scheduler.store.stores import Store

BackfillId = Annotated[UUID, typer.Argument(metavar="ID", help="The backfill.")]

_LOOK_S: Final = 0.2
_SLOWEST_LOOK_S: Final = 2.0
_INSTANT_COLUMNS: Final = ("fires_at", "wall_time", "trigger", "verdict", "job_version", "run", "state")
_COLUMNS: Final = (
    "id",
    "job",
    "state",
    "instants",
    "released",
    "runs",
    "max_parallel",
    "from_at",
    "to_at",
    "requested_at",
)

backfills = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Backfills: how far they are.")


def backfill(
    context: typer.Context,
    *,
    name: Annotated[str, typer.Argument(metavar="NAME", help="The job.")],
    start: Annotated[str, typer.Option("--from", help="First instant: a time, or a day; in the job's zone.")],
    end: Annotated[str | None, typer.Option("--to", help="Last instant or day, included (default: now).")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only list the instants.")] = False,
    every: Annotated[bool, typer.Option("--all", help="Also the instants that did start.")] = False,
    max_parallel: Annotated[int, typer.Option("--max-parallel", min=1, max=1000, help="Runs at a time.")] = 1,
    priority: Annotated[Priority, typer.Option("--priority", help="Of its runs.")] = Priority.BACKGROUND,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until it is over; exit 1 if a run failed.")] = False,
    json: Json = False,
) -> None:
    """Examples:

      scheduler backfill report --from 2026-03-01 --to 2026-03-07 --dry-run

      scheduler backfill report --from 2026-03-01T00:00:00Z --max-parallel 4 --wait

    Run the planned instants of a job that did not start: misfired, merged, paused, skipped, or before the job
    existed; an edit of its times leaves those before it as they were. The ledger keeps its verdicts, each run has
    the planned instant as its fired_at and the definition that was in force then.
    """
    from scheduler.cli.moments import read_instant
    from scheduler.cli.output import print_json, print_line, print_rows

    async def question(store: "Store", settings: "Settings") -> "tuple[Backfill, Row | None]":
        from scheduler.clock import SystemClock
        from scheduler.store.backfill import Wanted, start_backfill
        from scheduler.store.reading import get_job

        clock = SystemClock()
        zone = (await get_job(store, settings.tenant, name))["spec"]["timezone"]
        until = clock.now() if end is None else read_instant(end, zone, "--to", of_day=time.max)
        wanted = Wanted(name, read_instant(start, zone, "--from"), until, every, max_parallel, priority)
        found = await start_backfill(store, settings.tenant, wanted, dry_run=dry_run, clock=clock)
        return found, await _ended(store, settings.tenant, found.id) if wait and found.id is not None else None

    found, ended = ask(context, question)
    if json:
        print_json(_document(found, ended, full=dry_run))
    else:
        if dry_run:
            print_rows(map(_shown, found.instants), _INSTANT_COLUMNS[:5], empty="nothing to run")
        print_line(_sentence(found, ended, dry_run=dry_run))
    raise typer.Exit(1 if ended is not None and set(ended["runs"]) - {"succeeded"} else 0)


@backfills.command(name="list")
def list_all(
    context: typer.Context,
    *,
    job: Annotated[str | None, typer.Option("--job", help="Only of this job.")] = None,
    limit: Limit = 50,
    after: After = None,
    json: Json = False,
) -> None:
    """Examples:

      scheduler backfills list --job report

    List backfills with their progress, newest first.
    """
    from scheduler.cli.output import print_json, print_rows
    from scheduler.cli.runs import next_page, page_start
    from scheduler.store.backfill import list_backfills

    async def question(store: "Store", settings: "Settings") -> "list[Row]":
        return await list_backfills(store, settings.tenant, job, after=page_start(after), limit=limit)

    found = ask(context, question)
    if json:
        print_json({"backfills": found, "next": next_page(found, limit)})
        return
    print_rows(found, _COLUMNS, empty="no backfills")


@backfills.command()
def show(
    context: typer.Context,
    *,
    backfill_id: BackfillId,
    limit: Limit = 50,
    after: Annotated[int | None, typer.Option("--after", help="Go on behind this position.")] = None,
    json: Json = False,
) -> None:
    """Show a backfill: its progress, its instants and their runs."""
    from scheduler.cli.output import print_fields, print_json, print_rows
    from scheduler.store.backfill import get_backfill, list_instants

    async def question(store: "Store", settings: "Settings") -> "Row":
        found = await get_backfill(store, settings.tenant, backfill_id)
        return found | {
            "items": await list_instants(store, settings.tenant, backfill_id, after=after, limit=limit),
        }

    found = ask(context, question)
    if json:
        print_json(found)
        return
    print_fields({key: value for key, value in found.items() if key != "items"})
    rows = [row | {"run": row["run_id"]} for row in found["items"]]
    print_rows(rows, ("position", *_INSTANT_COLUMNS), empty="no instants")


@backfills.command()
def cancel(
    context: typer.Context,
    *,
    backfill_id: BackfillId,
    reason: Annotated[str, typer.Option("--reason", help="Kept with it.")] = "cancelled by a person",
    json: Json = False,
) -> None:
    """Start nothing more of a backfill; its runs under way go on. Exit 4 when it is over."""
    from scheduler.cli.output import print_json, print_line
    from scheduler.store.backfill import cancel_backfill

    async def question(store: "Store", settings: "Settings") -> None:
        await cancel_backfill(store, settings.tenant, backfill_id, reason=reason)

    ask(context, question)
    if json:
        print_json({"backfill": backfill_id, "cancelled": True})
    else:
        print_line(f"{backfill_id}: nothing more of it is started")


async def _ended(store: "Store", tenant: str, backfill_id: UUID) -> "Row":
    """Return the backfill when it is over."""
    from scheduler.clock import SystemClock
    from scheduler.store.backfill import get_backfill

    clock, pause_s = SystemClock(), _LOOK_S
    while (found := await get_backfill(store, tenant, backfill_id))["finished_at"] is None:
        await clock.sleep(pause_s)
        pause_s = min(pause_s * 1.2, _SLOWEST_LOOK_S)
    return found


def _document(found: "Backfill", ended: "Row | None", *, full: bool) -> dict[str, Any]:
    document: dict[str, Any] = {
        "backfill": found.id,
        "job": found.job,
        "count": len(found.instants),
        "left_to_the_clock_after": found.settled_until,
    }
    if full:
        document["instants"] = [_shown(instant) for instant in found.instants]
    if ended is not None:
        document |= {"state": ended["state"], "runs": ended["runs"]}
    return document


def _shown(instant: "Instant") -> dict[str, Any]:
    return {
        "fires_at": instant.fires_at,
        "wall_time": instant.wall_time,
        "zone": instant.zone,
        "trigger": instant.trigger,
        "verdict": instant.verdict,
        "firing": instant.firing_id,
        "job_version": instant.job_version,
        "in_force": instant.in_force,
    }


def _sentence(found: "Backfill", ended: "Row | None", *, dry_run: bool) -> str:
    from scheduler.cli.output import rfc3339

    count = len(found.instants)
    oldest = sum(not instant.in_force for instant in found.instants)
    parts = [f"{found.job}: {count} instants" + (" would run" if dry_run else " to run" if count else "")]
    if oldest:
        parts.append(f"{oldest} of them by the oldest definition, as none was in force yet")
    if found.settled_until is not None:
        parts.append(f"what is planned after {rfc3339(found.settled_until)} is left to the clock")
    if ended is not None:
        parts.append(", ".join(f"{count} {state}" for state, count in sorted(ended["runs"].items())))
    elif found.id is not None:
        parts.append(f"scheduler backfills show {found.id}")
    return "; ".join(parts)


def register(app: typer.Typer) -> None:
    app.command()(backfill)
    app.add_typer(backfills, name="backfills")
