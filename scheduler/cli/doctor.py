"""``scheduler doctor``: whether machine and setup are fit, and what to do where not."""

from typing import TYPE_CHECKING

import typer

from scheduler.cli.shared import Json, load

if TYPE_CHECKING:
    from scheduler.cli.findings import Finding
    from scheduler.config import Loaded


def doctor(context: typer.Context, *, json: Json = False) -> None:
    """Examples:

      scheduler doctor

      DATABASE_URL=postgresql://… AMQP_URL=amqp://… scheduler doctor --json

    Check the machine, the settings, the database and the broker; each line is ok, warn or fail, with what to do.
    Exit 1 when anything fails. Changes nothing and prints no secret.
    """
    import asyncio
    from dataclasses import asdict, replace

    from scheduler.cli.findings import Health
    from scheduler.cli.output import print_json, print_line
    from scheduler.logs import Redactor

    loaded = load(context)
    redact = Redactor()
    redact.learn(_secrets(loaded))
    found = [
        replace(finding, found=redact(finding.found), advice=finding.advice and redact(finding.advice))
        for finding in asyncio.run(_look(loaded))
    ]
    failed = sum(finding.health is Health.FAIL for finding in found)
    if json:
        print_json({"healthy": not failed, "checks": [asdict(finding) for finding in found]})
    else:
        width = max(len(finding.name) for finding in found)
        for finding in found:
            print_line(f"{finding.health:<4}  {finding.name:<{width}}  {finding.found}")
            if finding.advice:
                print_line(f"{'':<6}{'':<{width}}  → {finding.advice}")
    raise typer.Exit(1 if failed else 0)


async def _look(loaded: "Loaded") -> "list[Finding]":
    from scheduler.cli.doctor_machine import look_at_machine
    from scheduler.cli.doctor_services import look_at_broker, look_at_database
    from scheduler.clock import SystemClock

    settings, clock = loaded.settings, SystemClock()
    needs_postgres = settings.database_url is None
    machine = list(look_at_machine(settings.data_dir, clock.now(), needs_postgres=needs_postgres))
    database, pools = await look_at_database(settings, clock)
    return [*machine, *database, *await look_at_broker(settings, pools)]


def _secrets(loaded: "Loaded") -> list[str]:
    settings = loaded.settings
    urls = (settings.database_url, settings.amqp_url, settings.management_url)
    return [url.get_secret_value() for url in urls if url is not None]


def register(app: typer.Typer) -> None:
    app.command()(doctor)
