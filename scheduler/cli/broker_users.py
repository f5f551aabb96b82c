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
Prefix = Annotated[
    str | None, typer.Option("--prefix", help="What the users' names begin with: scheduler, or scheduler-TENANT.")
]
VhostOf = Annotated[
    str | None, typer.Option("--vhost-of", metavar="TENANT", help="The users of the vhost that a tenant has to itself.")
]


def users(
    context: typer.Context,
    *,
    apply: Apply = False,
    passwords: Passwords = None,
    pool: Pools = None,
    publisher: Publishers = None,
    reader: Readers = None,
    prefix: Prefix = None,
    vhost_of: VhostOf = None,
    json: Json = False,
) -> None:
    """Examples:

      scheduler broker users

      scheduler broker users --apply --passwords ./passwords

      scheduler broker users --publisher shop --reader crm --pool default --pool gpu --json

      scheduler broker users --vhost-of bank --apply --passwords ./passwords

    Print the commands that make a user for each actor, each pool's executors, publishers and readers, with the
    rights it needs and no others; or make them. A new user's password is taken from its file; where there is none it
    is made up, and written there, or shown this once without --passwords. Users that are there keep theirs unless
    there is a file.
    """
    import asyncio

    from scheduler.transport.broker_users import broker_users

    settings = load(context).settings
    pools = pool or asyncio.run(_pools(settings))
    named = prefix or ("scheduler" if vhost_of is None else f"scheduler-{vhost_of}")
    try:
        wanted = broker_users(pools, prefix=named, publishers=publisher or (), readers=reader or ())
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    url = asyncio.run(_url(settings, vhost_of))
    if apply:
        _say(asyncio.run(_apply(settings, url, wanted, passwords)), as_json=json)
    else:
        _print(wanted, url, as_json=json)


async def _pools(settings: "Settings") -> list[str]:
    from scheduler.client.opening import open_store
    from scheduler.store.definitions import list_pools

    async with open_store(settings, name="cli", of_tenant=False) as store:
        return list(await list_pools(store))


async def _url(settings: "Settings", tenant: str | None) -> str | None:
    """Return the URL of the vhost that is meant; None: that of all, and it is not named."""
    from scheduler.cli.vhosts import find_vhosts, url_of
    from scheduler.errors import NotFoundError

    if tenant is None:
        return None if settings.amqp_url is None else settings.amqp_url.get_secret_value()
    for vhost in await find_vhosts(settings):
        if vhost.tenant == tenant:
            return url_of(settings, vhost)
    raise NotFoundError(f"there is no tenant {tenant} with a vhost of its own")


async def _apply(
    settings: "Settings", amqp_url: str | None, wanted: Sequence["BrokerUser"], folder: Path | None
) -> list[dict[str, Any]]:
    from scheduler.cli.vhosts import management_of
    from scheduler.errors import ConfigurationError
    from scheduler.transport.amqp_management import Management
    from scheduler.transport.broker_url import vhost_of

    url = management_of(settings, amqp_url) if amqp_url is not None else None
    if url is None or amqp_url is None:
        why = "set AMQP_URL, for the vhost, and SCHEDULER_MANAGEMENT_URL, of an administrator of the same broker"
        raise ConfigurationError(why)
    async with Management(url, vhost_of(amqp_url)) as management:
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


def _print(wanted: Sequence["BrokerUser"], url: str | None, *, as_json: bool) -> None:
    from dataclasses import asdict

    from scheduler.cli.output import print_json, print_line
    from scheduler.transport.broker_url import vhost_of

    vhost = "/" if url is None else vhost_of(url)
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
