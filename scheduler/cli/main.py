"""The command line as a whole: its commands, its errors, its exit codes."""

import os
import sys
from collections.abc import Sequence
from functools import cache
from typing import Annotated, Any, Final

import typer
from typer.main import get_command

from scheduler.cli import (
    audit,
    backfill,
    broker,
    calendars,
    configuration,
    database,
    dead,
    definitions,
    doctor,
    events,
    executors,
    feed,
    firings,
    health,
    jobs,
    keys,
    next_fires,
    plan,
    pools,
    queues,
    retention,
    runs,
    simulate,
    start,
    stats,
    tenants,
    tokens,
    trigger,
    up,
)
from scheduler.cli.helptext import arrange
from scheduler.cli.shared import ConfigFile, DataDir, Given, TenantName

_EVERYWHERE: Final = ("--data-dir", "--tenant", "--config", "--no-color")
"""Options of the command as a whole that people write behind a command's name too."""
_FLAGS: Final = ("--no-color",)

app = typer.Typer(
    name="scheduler",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="""\b
Examples:
  scheduler up jobs.yaml            everything in one process, nothing else needed
  scheduler trigger backup --wait   run a job now and wait for its end
  scheduler runs --state failed     what went wrong
  scheduler next "0 2 * * *"        when a cron expression fires

Runs jobs at their times, after one another and by hand, with every planned firing accounted for.
Commands find a running `scheduler up` by --data-dir, or a database by DATABASE_URL.
--data-dir, --tenant, --config and --no-color may stand behind the command too.""",
)


def _show_version(value: bool) -> None:  # noqa: FBT001 - typer's signature
    if value:
        from scheduler import __version__

        typer.echo(f"scheduler {__version__}")
        raise typer.Exit


@app.callback()
def _whole(
    context: typer.Context,
    *,
    data_dir: DataDir = None,
    tenant: TenantName = None,
    config: ConfigFile = None,
    no_color: Annotated[bool, typer.Option("--no-color", help="Plain text; so does NO_COLOR.")] = False,
    _version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    if no_color:
        os.environ["NO_COLOR"] = "1"
    context.obj = Given(data_dir, tenant, config)


for module in (
    up,
    start,
    database,
    broker,
    definitions,
    plan,
    next_fires,
    simulate,
    jobs,
    trigger,
    backfill,
    runs,
    firings,
    feed,
    dead,
    health,
    executors,
    stats,
    doctor,
    pools,
    events,
    queues,
    calendars,
    keys,
    tokens,
    tenants,
    retention,
    audit,
    configuration,
):
    module.register(app)
arrange(app)


def hoisted(arguments: Sequence[str]) -> list[str]:
    """Return ``arguments`` with the options of the command as a whole moved to the front."""
    front: list[str] = []
    rest: list[str] = []
    left = iter(arguments)
    for argument in left:
        name, _, value = argument.partition("=")
        if argument == "--":
            rest += ["--", *left]
        elif name not in _EVERYWHERE:
            rest.append(argument)
        else:
            front.append(argument)
            if not value and name not in _FLAGS:
                front += [found for found in [next(left, None)] if found is not None]
    return [*front, *rest]


@cache
def command_line() -> Any:
    """Return the command as a whole; reading the signatures of all its parts takes some time, once."""
    return get_command(app)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its code."""
    given = hoisted(sys.argv[1:] if arguments is None else arguments)
    if not all(map(_is_text, given)):
        sys.stderr.write("error: an argument is not valid UTF-8\n")
        sys.exit(2)
    try:
        code: Any = command_line().main(args=given, prog_name="scheduler", standalone_mode=False)
    except typer.Abort:
        code = 130
    except Exception as error:  # noqa: BLE001 - the last place that can say it in one line
        code = _explain(error, as_json="--json" in given)
    sys.exit(code if isinstance(code, int) else 0)


def _is_text(argument: str) -> bool:
    try:
        return bool(argument.encode()) or not argument
    except UnicodeEncodeError:
        return False


def _explain(error: Exception, *, as_json: bool) -> int:
    from typer._click.exceptions import ClickException, NoArgsIsHelpError

    from scheduler.cli.output import say_error, say_usage_error
    from scheduler.errors import SchedulerError

    if isinstance(error, NoArgsIsHelpError):
        error.show()
        return error.exit_code
    if isinstance(error, ClickException):
        context = getattr(error, "ctx", None)
        say_usage_error(error.format_message(), context.command_path if context else "scheduler", as_json=as_json)
        return error.exit_code
    if isinstance(error, BrokenPipeError):
        sys.stderr.close()
        return 1
    if isinstance(error, SchedulerError):
        say_error(error, as_json=as_json)
        return error.exit_code
    raise error
