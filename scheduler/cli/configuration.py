"""``scheduler config``."""

import typer

from scheduler.cli.shared import Json, load

config = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="The settings.")


@config.command()
def show(context: typer.Context, *, json: Json = False) -> None:
    """Examples:

      scheduler config show

    Print each setting, its value and where it came from; secrets are masked.
    """
    from scheduler.cli.output import print_json, print_rows
    from scheduler.config import knobs, shown

    loaded = load(context)
    rows = [
        {
            "name": knob.name,
            "value": shown(loaded.settings, knob),
            "origin": loaded.origins[knob.name],
            "variable": knob.variable,
        }
        for knob in knobs()
    ]
    if json:
        print_json({"settings": rows})
        return
    print_rows(rows, ("name", "value", "origin", "variable"), empty="")


def register(app: typer.Typer) -> None:
    app.add_typer(config, name="config")
