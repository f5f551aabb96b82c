"""``scheduler feed``: what happened, from a cursor on, and what happens."""

import sys
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from scheduler.cli.shared import Json, Limit, ask

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scheduler.config import Settings
    from scheduler.store.feed import Fact, FeedPage
    from scheduler.store.stores import Store

_LOOK_S: Final = 0.5
_PAGE: Final = 500


def feed(
    context: typer.Context,
    *,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on with what happens, until interrupted.")] = False,
    after: Annotated[str | None, typer.Option("--after", help="Begin behind this cursor.")] = None,
    limit: Limit = 100,
    json: Json = False,
) -> None:
    """Examples:

      scheduler feed -f

      scheduler feed --json --limit 1000

      scheduler feed -f --json --after 88231-1204-3

    Print facts about runs and firings of the tenant, oldest first: without --after from the oldest that is kept, with
    --follow from now on and without end. They are CloudEvents; with --json --follow each is a line of its own. `next`,
    and the `cursor` of each, is where --after goes on.
    """

    async def question(store: "Store", settings: "Settings") -> "FeedPage | None":
        from scheduler.store.feed import list_feed

        if not follow:
            return await list_feed(store, after, tenant=settings.tenant, limit=limit)
        await _follow(store, settings.tenant, after, as_json=json)
        return None

    page = ask(context, question)
    if page is not None and json:
        from scheduler.cli.output import print_json

        events = [fact.event.model_dump(mode="json") for fact in page.facts]
        print_json({"events": events, "next": page.cursor, "more": page.more})
    elif page is not None:
        _print(page.facts, as_json=False)


async def _follow(store: "Store", tenant: str, after: str | None, *, as_json: bool) -> None:
    from scheduler.clock import SystemClock
    from scheduler.store.feed import feed_end, list_feed

    clock = SystemClock()
    cursor = await feed_end(store) if after is None else after
    while True:
        page = await list_feed(store, cursor, tenant=tenant, limit=_PAGE)
        cursor = page.cursor
        _print(page.facts, as_json=as_json)
        if not page.more:
            await clock.sleep(_LOOK_S)


def _print(facts: "Sequence[Fact]", *, as_json: bool) -> None:
    for fact in facts:
        sys.stdout.write((fact.event.model_dump_json() if as_json else _line(fact)) + "\n")
    if facts:
        sys.stdout.flush()


def _line(fact: "Fact") -> str:
    """Return one line for people: when, what, which job, its id, and what else there is to say."""
    from scheduler.cli.following import progress_text
    from scheduler.cli.output import cell
    from scheduler.logs import printable
    from schemas.feed import TYPE_PREFIX

    event = fact.event
    data: dict[str, Any] = event.data.model_dump(mode="json", exclude_none=True)
    told = [f"{name}={data[name]}" for name in ("attempt", "outcome", "exit_code", "count", "run_id") if name in data]
    told = [word for word in told if word not in {f"run_id={event.subject}", "attempt=1", "count=1"}]
    told += [f"progress={progress_text(data['progress'])}"] if "progress" in data else []
    reason = [data["reason"]] if "reason" in data else []
    words = (cell(event.time), event.type.removeprefix(TYPE_PREFIX), data["job"], str(event.subject), *told, *reason)
    return printable("  ".join(words))


def register(app: typer.Typer) -> None:
    app.command()(feed)
