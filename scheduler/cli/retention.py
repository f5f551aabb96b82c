"""``scheduler retention``."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from scheduler.cli.shared import Json, ask

if TYPE_CHECKING:
    from scheduler.config import Settings
    from scheduler.store.stores import Store

retention = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="What is kept of ended runs, and for how long."
)

_HISTORY = ("class", "days", "runs", "oldest", "newest", "size")
_DROPPED = ("class", "day", "runs", "archived_at")


@retention.command()
def show(context: typer.Context, *, json: Json = False) -> None:
    """Show when history was worked on last and will be next, what that removed, and what each class holds."""
    from scheduler.cli.output import print_fields, print_json, print_line, print_rows
    from scheduler.store.retaining import describe, show_retention
    from schemas.sizes import format_size

    async def question(store: "Store", settings: "Settings") -> dict[str, Any]:
        return await show_retention(store) | {"settings": _settings(settings)}

    found = ask(context, question)
    if json:
        print_json(found)
        return
    shown = ("next_at", "started_at", "finished_at", "seconds", "trouble")
    print_fields({name: found[name] for name in shown} | {"removed": describe(found["done"])} | found["settings"])
    print_line("")
    rows = [row | {"class": f"{row['class']}d", "size": format_size(row["bytes"])} for row in found["history"]]
    print_rows(rows, _HISTORY, empty="nothing has moved to history yet")


@retention.command()
def run(
    context: typer.Context,
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")] = False,
    json: Json = False,
) -> None:
    """Examples:

      scheduler retention run --dry-run

    Move, archive and remove now what the daily work would; exit 4 when somebody is at it.
    """
    from dataclasses import asdict

    from scheduler.cli.output import print_json, print_line
    from scheduler.clock import SystemClock
    from scheduler.errors import ConflictError
    from scheduler.store.retaining import describe, foresee, retain

    async def question(store: "Store", settings: "Settings") -> dict[str, Any]:
        plan = settings.retention.plan(settings.timezone)
        if dry_run:
            return await foresee(store, plan)
        done = await retain(store, plan, SystemClock(), asked=True)
        if done is None:
            raise ConflictError("somebody is at it already: scheduler retention show")
        return asdict(done)

    found = ask(context, question)
    if json:
        print_json(found)
    elif dry_run:
        _foretell(found)
    else:
        print_line(f"done: {describe(found)}")


def _foretell(found: dict[str, Any]) -> None:
    from scheduler.cli.output import print_line, print_rows

    rows = [row | {"class": f"{row['class']}d"} for row in found["partitions"]]
    print_rows(rows, _DROPPED, empty="no partition is over")
    most = found["most"]
    print_line(f"at most {most['runs']} runs would move to history; what is over by then would be dropped with its day")
    print_line(f"at most {most['firings']} firings and {most['events']} events are older than the ledger is kept")
    print_line(f"at most {most['audit']} entries of the audit log are older than it is kept, by whole days")


def _settings(settings: "Settings") -> dict[str, Any]:
    from schemas.durations import format_duration

    kept = settings.retention
    spans = {
        f"keeps {name}": format_duration(getattr(kept, name))
        for name in ("succeeded", "failed", "cancelled", "skipped")
    }
    return spans | {
        "keeps ledger": format_duration(kept.ledger),
        "keeps audit": format_duration(kept.audit),
        "archive": str(kept.archive) if kept.archive else None,
    }


def register(app: typer.Typer) -> None:
    app.add_typer(retention, name="retention")
