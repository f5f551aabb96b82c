"""``scheduler event publish|list|show``: what publishers send, and what became of it."""

import os
import sys
from typing import TYPE_CHECKING, Annotated, Final
from uuid import UUID

import typer

from scheduler.cli.shared import After, Json, Limit, ask, load

if TYPE_CHECKING:
    from scheduler.config import Settings
    from scheduler.store.events import Recorded, Row
    from scheduler.store.stores import Store

event = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Events: publish one, see what came in.")

_COLUMNS: Final = ("received_at", "id", "source", "topic", "verdict", "runs", "reason")
_FIRINGS: Final = ("job", "trigger", "verdict", "run_id", "reason")


@event.command()
def publish(
    context: typer.Context,
    *,
    topic: Annotated[str, typer.Argument(metavar="TOPIC", help="As publishers name it, without the tenant.")],
    data: Annotated[str, typer.Option("--data", help="A JSON object; - reads it from standard input.")] = "{}",
    key: Annotated[
        str | None, typer.Option("--id", help="Its id: publishing it again with the same one does nothing.")
    ] = None,
    subject: Annotated[str | None, typer.Option("--subject", help="What it is about.")] = None,
    json: Json = False,
) -> None:
    """Examples:

      scheduler event publish orders.eu.created --data '{"id": 7, "amount": 120}'

      scheduler event publish import.done --data - --id 2026-03-01 < report.json

    Publish an event, as a program would over AMQP; the command ends when it is recorded, not when runs have ended.
    Runs join the trace that TRACEPARENT names, if any.
    """
    from scheduler.cli.output import print_json, print_line
    from scheduler.clock import SystemClock
    from scheduler.domain.strict_json import read_object
    from scheduler.domain.trace import as_header
    from scheduler.ids import uuid7
    from scheduler.store.events import NewEvent, publish_by_hand
    from schemas.vocabulary import EventSource

    _check_topic(topic)
    try:
        body = read_object(sys.stdin.buffer.read() if data == "-" else data.encode(errors="surrogateescape"))
    except ValueError as error:
        raise typer.BadParameter(f"--data: {error}") from None

    async def question(store: "Store", settings: "Settings") -> "Recorded":
        new = NewEvent(
            id=uuid7(SystemClock()),
            tenant=settings.tenant,
            source=EventSource.CLI,
            topic=topic,
            data=body,
            key=None if key is None else f"id:{topic}:{key}",
            sender_id=key,
            subject=subject,
            headers=as_header(os.environ.get("TRACEPARENT")) or None,
        )
        return await publish_by_hand(store, new)

    recorded = ask(context, question)
    if json:
        print_json({"event_id": recorded.event_id, "duplicate": recorded.duplicate})
    elif recorded.duplicate:
        print_line(f"event {recorded.event_id} has this id already: nothing is done")
    else:
        print_line(f"event {recorded.event_id}; what it starts: scheduler event show {recorded.event_id}")


@event.command(name="list")
def list_(
    context: typer.Context,
    *,
    topic: Annotated[str | None, typer.Option("--topic", help="Only this topic, or a pattern with * and #.")] = None,
    source: Annotated[str | None, typer.Option("--source", help="Only from there: amqp, webhook, file, …")] = None,
    verdict: Annotated[
        str | None, typer.Option("--verdict", help="Only with this verdict, as in started, or undecided ones.")
    ] = None,
    since: Annotated[
        str | None, typer.Option("--since", help="Only received at this time or day or later, or so long ago.")
    ] = None,
    limit: Limit = 50,
    after: After = None,
    json: Json = False,
) -> None:
    """Examples:

      scheduler event list

      scheduler event list --verdict invalid --since 1d

      scheduler event list --topic 'orders.#' --json

    List what came in, newest first: where from, and what became of it.
    """
    from scheduler.cli.moments import read_time
    from scheduler.cli.output import print_json, print_rows
    from scheduler.cli.runs import next_page, page_start
    from scheduler.store.events import EventFilter, list_events
    from schemas.vocabulary import EventSource, EventVerdict

    _one_of("--source", source, [word.value for word in EventSource])
    _one_of("--verdict", verdict, [*(word.value for word in EventVerdict), "undecided"])
    begin = None if since is None else read_time(since, load(context).settings.timezone, "--since")
    which = EventFilter(topic, source, verdict, begin, page_start(after), limit)

    async def question(store: "Store", settings: "Settings") -> "list[Row]":
        return await list_events(store, settings.tenant, which)

    found = ask(context, question)
    if json:
        print_json({"events": found, "next": next_page(found, limit)})
        return
    rows = [row | {"verdict": row["verdict"] or "undecided", "runs": _runs(row)} for row in found]
    print_rows(rows, _COLUMNS, empty="no events yet" if which == EventFilter() else "no such events")


@event.command()
def show(
    context: typer.Context,
    *,
    event_id: Annotated[UUID, typer.Argument(metavar="ID", help="The event.")],
    json: Json = False,
) -> None:
    """Show an event: its data, its verdict, and what it fired."""
    from scheduler.cli.output import print_fields, print_json, print_line, print_rows
    from scheduler.store.events import get_event

    async def question(store: "Store", settings: "Settings") -> "Row":
        return await get_event(store, settings.tenant, event_id)

    found = ask(context, question)
    if json:
        print_json(found)
        return
    print_fields({name: value for name, value in found.items() if name != "firings"})
    print_line("")
    print_rows(found["firings"], _FIRINGS, empty="it fired nothing")


def _runs(row: "Row") -> str:
    return " ".join(str(firing["run_id"]) for firing in row["firings"] if firing["run_id"] is not None)


def _check_topic(topic: str) -> None:
    from schemas.event_trigger import check_topic

    try:
        check_topic(topic)
    except ValueError as error:
        raise typer.BadParameter(f"TOPIC: {error}") from None
    if {"*", "#"} & set(topic.split(".")):
        raise typer.BadParameter("TOPIC: * and # stand in patterns; an event has one topic")


def _one_of(option: str, given: str | None, known: list[str]) -> None:
    if given is not None and given not in known:
        raise typer.BadParameter(f"{option}: {given!r} is none of {', '.join(known)}")


def register(app: typer.Typer) -> None:
    app.add_typer(event, name="event")
