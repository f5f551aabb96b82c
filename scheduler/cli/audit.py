"""``scheduler audit``."""

from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from scheduler.cli.shared import After, Json, Limit, ask

if TYPE_CHECKING:
    from scheduler.config import Settings
    from scheduler.store.audit import Row
    from scheduler.store.stores import Store

_COLUMNS: Final = ("at", "actor", "action", "object", "before", "after", "result", "address")


def audit(
    context: typer.Context,
    *,
    actor: Annotated[
        str | None, typer.Option("--actor", help="Only theirs: key:ID, jwt:SUB, cli:USER@HOST, or a beginning and *.")
    ] = None,
    action: Annotated[str | None, typer.Option("--action", help="Only this: pause, trigger, change, access, …")] = None,
    object_: Annotated[
        str | None, typer.Option("--object", help="Only what was done to it: a name or id, KIND, or KIND:NAME.")
    ] = None,
    since: Annotated[
        str | None, typer.Option("--since", help="Only done at this time or day or later, or so long ago.")
    ] = None,
    denied: Annotated[bool, typer.Option("--denied", help="Only what was refused.")] = False,
    limit: Limit = 50,
    after: After = None,
    json: Json = False,
) -> None:
    """Examples:

      scheduler audit --since 1d

      scheduler audit --object job:backup

      scheduler audit --actor 'key:*' --denied

    List who changed what in the tenant, and who was refused, newest first. What is done to pools, executors and the
    broker is in the log of the tenant of whoever did it. Nobody can change or delete an entry.
    """
    from scheduler.cli.moments import read_time
    from scheduler.cli.output import print_json, print_rows
    from scheduler.cli.runs import next_page, page_start
    from scheduler.domain.audit import AuditAction, AuditResult
    from scheduler.store.audit import AuditFilter, list_audit
    from scheduler.store.registry import store_of

    if action is not None and action not in set(AuditAction):
        raise typer.BadParameter(f"--action: {action!r} is none of {', '.join(AuditAction)}")
    kind, name = _object(object_)
    which = AuditFilter(
        actor,
        action,
        kind,
        name,
        AuditResult.DENIED.value if denied else None,
        read_time(since, None, "--since"),
        after=page_start(after),
        limit=limit,
    )

    async def question(main: "Store", settings: "Settings") -> "list[Row]":
        insecure = settings.insecure_database
        async with store_of(main, settings.tenant, name="cli", allow_insecure=insecure) as home:
            return await list_audit([main] if home is main else [home, main], settings.tenant, which)

    found = ask(context, question, in_main=True)
    if json:
        print_json({"audit": found, "next": next_page(found, limit)})
        return
    print_rows(map(_readable, found), _COLUMNS, empty="no such entries")


def _object(given: str | None) -> tuple[str | None, str | None]:
    """Return kind and name of what --object says."""
    from scheduler.domain.audit import AuditKind

    if given is None:
        return None, None
    kind, colon, name = given.partition(":")
    if kind not in set(AuditKind):
        return None, given
    return kind, name if colon else None


def _readable(row: "Row") -> dict[str, Any]:
    from scheduler.cli.job_page import in_words

    result = row["result"] if row["count"] == 1 else f"{row['result']} ×{row['count']}"
    told = {key: in_words(row[key]) if row[key] else "" for key in ("before", "after")}
    return row | told | {"object": f"{row['kind']}:{row['name']}", "result": result}


def register(app: typer.Typer) -> None:
    app.command()(audit)
