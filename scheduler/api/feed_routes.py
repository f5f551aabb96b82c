"""The feed: facts about runs and firings behind a cursor, as a page or as they happen."""

from typing import Annotated, Final

from fastapi import APIRouter, Query, Response

from scheduler.api.route import ApiRoute, Call, Calling, needs
from scheduler.api.shapes import Shape
from scheduler.api.streams import LastEventId, Said, Source, streams_too, wants_stream
from scheduler.domain.access import Action
from scheduler.store.feed import FeedPage, feed_end, list_feed
from schemas.feed import TYPE_PREFIX, CloudEvent

_LOOK_S: Final = 1.0
_MOST: Final = 200
_ABOUT: Final = "One CloudEvent for each fact: its cursor is the id, its type without `scheduler.` the event."

feed = APIRouter(tags=["feed"], route_class=ApiRoute)

After = Annotated[
    str | None,
    Query(max_length=64, description="`cursor` of the last fact dealt with. Default: a page begins with the oldest.")
]  # fmt: skip


class Feed(Shape):
    events: list[CloudEvent]
    cursor: str
    """Where to go on, also when there are no events."""
    more: bool
    """There are more already."""


@feed.get("/feed", response_model=Feed, responses=streams_too(_ABOUT), openapi_extra=needs(Action.VIEW))
async def read_feed(
    call: Calling,
    *,
    after: After = None,
    limit: Annotated[int, Query(ge=1, le=_MOST, description="At most this many, of a page.")] = 100,
    last_event_id: LastEventId = None,
) -> Feed | Response:
    """Return what happened to runs and firings, in order; as a stream from now on, or from behind a cursor on."""
    after = last_event_id or after
    if not wants_stream(call.request.headers):
        page = await list_feed(call.store, after, tenant=call.tenant, limit=limit)
        return Feed(events=[fact.event for fact in page.facts], cursor=page.cursor, more=page.more)
    page = await list_feed(call.store, after or await feed_end(call.store), tenant=call.tenant, limit=_MOST)
    return call.site.streams.answer(call.caller.account, _happening(call, page))


async def _happening(call: Call, page: FeedPage) -> Source:
    while True:
        for fact in page.facts:
            yield Said(str(fact.at), fact.event.type.removeprefix(TYPE_PREFIX), fact.event)
        if not page.more:
            yield Said(page.cursor)
            await call.site.streams.pause(_LOOK_S)
        page = await list_feed(call.store, page.cursor, tenant=call.tenant, limit=_MOST)
