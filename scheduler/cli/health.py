"""``scheduler health``."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from scheduler.cli.shared import Json, ask, lease_s

if TYPE_CHECKING:
    from scheduler.config import Settings
    from scheduler.store.reading import Row
    from scheduler.store.stores import Store


def health(
    context: typer.Context,
    *,
    detailed: Annotated[bool, typer.Option("--detailed", help="Counts, lags and each part.")] = False,
    json: Json = False,
) -> None:
    """Examples:

      scheduler health --detailed

    Say whether everything that is needed is there; exit 1 when not, 69 without a database.
    """
    from scheduler.cli.output import print_fields, print_json, print_line, say_warning
    from scheduler.clock import SystemClock
    from scheduler.store.health import ask_health

    async def question(store: "Store", settings: "Settings") -> "tuple[Row, dict[str, str], list[str]]":
        today = SystemClock().now().date()
        found = await ask_health(store, settings.tenant, lease_s=lease_s(settings), today=today)
        broker, round_trip_ms = await _ask_broker(settings)
        return found.counts | {"broker_round_trip_ms": round_trip_ms}, {**found.troubles, **broker}, found.warnings

    counts, troubles, warnings = ask(context, question)
    held_back = _held_back(counts)
    document: dict[str, Any] = {
        "healthy": not troubles,
        "troubles": troubles,
        "held_back": held_back,
        "warnings": warnings,
    }
    if json:
        print_json(document | ({"counts": counts} if detailed else {}))
    else:
        print_line("healthy" if not troubles else "not healthy")
        for part, trouble in troubles.items():
            print_line(f"  {part}: {trouble}")
        for line in held_back:
            print_line(f"  {line}")
        for warning in warnings:
            say_warning(warning)
        if detailed:
            print_fields(counts)
    raise typer.Exit(1 if troubles else 0)


def _held_back(counts: "Row") -> list[str]:
    """Return what people hold back: nothing is wrong, but it explains why nothing happens."""
    from scheduler.cli.output import cell

    lines = []
    if counts["paused_at"] is not None:
        lines.append(f"every job is paused since {cell(counts['paused_at'])}: scheduler resume --all")
    if counts["paused_jobs"]:
        lines.append(f"jobs paused one by one: {counts['paused_jobs']}; scheduler jobs shows which")
    if counts["disabled_jobs"]:
        lines.append(f"jobs disabled: {counts['disabled_jobs']}; scheduler jobs shows which")
    return lines


async def _ask_broker(settings: "Settings") -> tuple[dict[str, str], float | None]:
    """Return what is wrong with the broker, and how long a message took through it; None without one."""
    from scheduler.clock import SystemClock
    from scheduler.errors import TransientError
    from scheduler.transport.amqp_admin import admin

    if settings.amqp_url is None:
        return {}, None
    try:
        async with admin(settings.amqp_url.get_secret_value()) as operator:
            return {}, round(await operator.send_canary(SystemClock()) * 1000, 2)
    except TransientError as error:
        return {"broker": str(error)}, None


def register(app: typer.Typer) -> None:
    app.command()(health)
