"""``scheduler broker users``: who may do what at the broker, as commands for its operator or applied at once."""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from scheduler.cli.shared import Json, load

if TYPE_CHECKING:
    from scheduler.config import Settings
    from scheduler.transport.broker_users import BrokerUser

Apply = Annotated[bool, typer.Option("--apply", help="Make them through the management API.")]
Passwords = Annotated[
    Path | None,
    typer.Option("--passwords", help="Folder with a file for each user, named so, that holds its password."),
]
Pools = Annotated[list[str] | None, typer.Option("--pool", help="Instead of the pools of the database; repeatable.")]
Publishers = Annotated[
    list[str] | None, typer.Option("--publisher", help="Who publishes events below its own name; repeatable.")
]
Readers = Annotated[
    list[str] | None, typer.Option("--reader", help="Who reads the feed by queues of its own; repeatable.")
]
Prefix = Annotated[str, typer.Option("--prefix", help="What the users' names begin with.")]


def users(
    context: typer.Context,
    *,
    apply: Apply = False,
    passwords: Passwords = None,
    pool: Pools = None,
    publisher: Publishers = None,
    reader: Readers = None,
    prefix: Prefix = "scheduler",
    json: Json = False,
) -> None:
    """Examples:

      scheduler broker users

      scheduler broker users --apply --passwords ./passwords

      scheduler broker users --publisher shop --reader crm --pool default --pool gpu --json

    Print the commands that make a user for each actor, each pool's executors, publishers and readers, with the
    rights it needs and no others; or make them. A new user's password is taken from its file; where there is none it
    is made up, and written there, or shown this once without --passwords. Users that are there keep theirs unless
    there is a file.
    """
    import asyncio

    from scheduler.transport.broker_url import vhost_of
    from scheduler.transport.broker_users import broker_users

    settings = load(context).settings
    pools = pool or asyncio.run(_pools(settings))
    try:
        wanted = broker_users(pools, prefix=prefix, publishers=publisher or (), readers=reader or ())
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    vhost = vhost_of(settings.amqp_url.get_secret_value()) if settings.amqp_url is not None else "/"
    if apply:
        _say(asyncio.run(_apply(settings, wanted, passwords)), as_json=json)
    else:
        _print(wanted, vhost, as_json=json)


async def _pools(settings: "Settings") -> list[str]:
    from scheduler.client.opening import open_store
    from scheduler.store.definitions import list_pools

    async with open_store(settings, name="cli", of_tenant=False) as store:
        return list(await list_pools(store))


async def _apply(settings: "Settings", wanted: Sequence["BrokerUser"], folder: Path | None) -> list[dict[str, Any]]:
    from scheduler.errors import ConfigurationError
    from scheduler.transport.amqp_management import Management
    from scheduler.transport.broker_url import check_management_url, vhost_of

    if settings.amqp_url is None or settings.management_url is None:
        raise ConfigurationError("set AMQP_URL, for the vhost, and SCHEDULER_MANAGEMENT_URL, of an administrator")
    url = settings.management_url.get_secret_value()
    check_management_url(url, allow_insecure=settings.insecure_broker)
    async with Management(url, vhost_of(settings.amqp_url.get_secret_value())) as management:
        return [await _make(management, user, folder) for user in wanted]


async def _make(management: Any, user: "BrokerUser", folder: Path | None) -> dict[str, Any]:
    """Make ``user`` or bring its rights up to date; tell whether it is new, and a password nobody else has kept."""
    from dataclasses import asdict

    new = not await management.has_user(user.name)
    given, shown = _password(folder, user.name, new=new)
    if given is not None:
        await management.set_password(user.name, given)
    await management.set_rights(user.name, {"configure": user.configure, "write": user.write, "read": user.read})
    await management.set_topic_right(user.name, asdict(user.topic) if user.topic is not None else None)
    return {"name": user.name, "made": new, "password": given if shown else None}


def _password(folder: Path | None, name: str, *, new: bool) -> tuple[str | None, bool]:
    """Return the password to set (None: it stays as it is), and whether it has to be shown."""
    import os
    import secrets

    from scheduler.errors import ConfigurationError

    path = folder / name if folder is not None else None
    try:
        if path is not None and path.exists():
            return path.read_text(encoding="utf-8").strip(), False
        if not new:
            return None, False
        made = secrets.token_urlsafe(24)
        if path is None:
            return made, True
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            file.write(f"{made}\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path}: {getattr(error, 'strerror', None) or 'is no text'}") from None
    return made, False


def _say(made: Sequence[dict[str, Any]], *, as_json: bool) -> None:
    from scheduler.cli.output import print_json, print_line

    if as_json:
        print_json({"users": list(made)})
        return
    for user in made:
        words = "made" if user["made"] else "brought up to date"
        password = f"; its password, shown this once: {user['password']}" if user["password"] else ""
        print_line(f"{user['name']}: {words}{password}")


def _print(wanted: Sequence["BrokerUser"], vhost: str, *, as_json: bool) -> None:
    from dataclasses import asdict

    from scheduler.cli.output import print_json, print_line

    if as_json:
        print_json({"vhost": vhost, "users": [asdict(user) for user in wanted]})
        return
    print_line("# PASSWORDS: a folder with a file for each user, named so, that holds its password.")
    for user in wanted:
        print_line(f"# {user.name}: {user.purpose}")
        print_line(f'rabbitmqctl add_user {user.name} < "$PASSWORDS/{user.name}"')
        rights = shlex.join(("-p", vhost, user.name, user.configure, user.write, user.read))
        print_line(f"rabbitmqctl set_permissions {rights}")
        if user.topic is not None:
            topic = shlex.join(("-p", vhost, user.name, user.topic.exchange, user.topic.write, user.topic.read))
            print_line(f"rabbitmqctl set_topic_permissions {topic}")


def register(app: typer.Typer) -> None:
    app.command()(users)
