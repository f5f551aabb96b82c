"""``scheduler stats``."""

from typing import TYPE_CHECKING, Annotated, Final

import typer

from scheduler.cli.moments import read_time
from scheduler.cli.shared import Json, ask, lease_s

if TYPE_CHECKING:
    from scheduler.config import Settings
    from scheduler.store.stats import Measured, Row
    from scheduler.store.stores import Store

_POOL_COLUMNS: Final = ("pool", "slots", "queue_limit", "ready", "queued", "running", "backing_off", "oldest_s")
_WENT: Final = ("runs", "succeeded", "failed", "success_rate", "mean_s", "p95_s", "p95_wait_s")


def stats(
    context: typer.Context,
    *,
    since: Annotated[str, typer.Option("--since", help="Runs made after: a time, or a duration ago as in 2h.")] = "1d",
    job: Annotated[str | None, typer.Option("--job", help="Only runs of this job.")] = None,
    json: Json = False,
) -> None:
    """Examples:

      scheduler stats --since 2h

    Count what waits and runs in each pool, and say how the runs of each pool and job went: success rate, mean and
    95th percentile of their last attempts, and how long they had waited for an executor.
    """
    from scheduler.cli.output import print_json, print_rows
    from scheduler.store.stats import count_pools, measure_runs

    begin = read_time(since, None, "--since")
    if begin is None:
        raise typer.BadParameter("--since: give a time")

    async def question(store: "Store", settings: "Settings") -> "tuple[list[Row], Measured]":
        counted = await count_pools(store, settings.tenant, lease_s=lease_s(settings))
        return counted, await measure_runs(store, settings.tenant, since=begin, job=job)

    counted, measured = ask(context, question)
    pools = measured.beside(counted)
    if json:
        print_json({"since": begin, "pools": pools, "jobs": measured.jobs})
        return
    print_rows([_rounded(row) for row in pools], _POOL_COLUMNS, empty="no pools")
    if went := [_rounded(row) for row in pools if row["runs"]]:
        print_rows(went, ("pool", *_WENT), empty="")
    print_rows([_rounded(row) for row in measured.jobs], ("job", "pool", *_WENT), empty="no run has ended in that time")


def _rounded(row: "Row") -> "Row":
    return {name: round(value, 3) if isinstance(value, float) else value for name, value in row.items()}


def register(app: typer.Typer) -> None:
    app.command()(stats)
