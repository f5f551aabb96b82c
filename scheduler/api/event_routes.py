"""Events: published, listed, looked at with what became of them."""

from datetime import datetime
from typing import Annotated, Any, Final, Literal
from uuid import UUID

from fastapi import APIRouter, Body, Query, Response
from pydantic import AfterValidator, Field

from scheduler.api.lists import Cursor, Limit, next_page, page_start
from scheduler.api.route import ApiRoute, Calling, needs
from scheduler.api.shapes import EventTaken, Shape
from scheduler.api.wants import Moment, Trace, Want
from scheduler.domain.access import Action
from scheduler.domain.causation import depth_as_header
from scheduler.domain.trace import as_header
from scheduler.ids import uuid7
from scheduler.store.events import EventFilter, NewEvent, get_event, list_events, publish_by_hand
from schemas.event_trigger import check_topic
from schemas.json_values import JsonObject
from schemas.spec_model import Text
from schemas.vocabulary import EventSource, EventVerdict

events = APIRouter(tags=["events"], route_class=ApiRoute)

_EXAMPLE: Final = {"topic": "orders.eu.created", "data": {"id": 7, "amount": 120}, "id": "order-7"}


def _one_topic(topic: str) -> str:
    if {"*", "#"} & set(check_topic(topic).split(".")):
        raise ValueError("* and # stand in patterns; an event has one topic")
    return topic


class EventWanted(Want):
    topic: Annotated[Text, AfterValidator(_one_topic)]
    """As publishers name it, without the tenant."""
    data: JsonObject = Field(default_factory=dict)
    id: Annotated[Text | None, Field(min_length=1, max_length=255)] = None
    """What it is known by for two days: publishing it again with the same one does nothing."""
    subject: Annotated[Text | None, Field(max_length=1000)] = None
    """What it is about."""


class EventFiring(Shape):
    id: UUID
    job: str
    trigger: str | None
    verdict: str | None
    reason: str | None
    run_id: UUID | None


class Event(Shape):
    id: UUID
    source: EventSource
    topic: str
    sender_id: str | None
    """What its sender calls it."""
    subject: str | None
    received_at: datetime
    verdict: EventVerdict | None
    """None: not decided yet."""
    reason: str | None
    firings: list[EventFiring]
    """Those it led to, with their own verdicts."""


class EventDetail(Event):
    headers: dict[str, Any] | None
    data: Any
    depth: int
    """How many runs, each started by the one before, led to it."""
    occurred_at: datetime | None
    decided_at: datetime | None


class Events(Shape):
    events: list[Event]
    next: str | None


@events.post(
    "/events",
    status_code=202,
    responses={200: {"model": EventTaken, "description": "It came before"}},
    openapi_extra=needs(Action.OPERATE),
)
async def publish_event(
    call: Calling,
    wanted: Annotated[EventWanted, Body(examples=[_EXAMPLE])],
    response: Response,
    *,
    traceparent: Trace = None,
) -> EventTaken:
    """Publish an event, as a program would over AMQP: 202 means stored, not decided; /events/ID says what it starts."""
    new = NewEvent(
        id=uuid7(call.clock),
        tenant=call.tenant,
        source=EventSource.API,
        topic=wanted.topic,
        data=wanted.data,
        key=None if wanted.id is None else f"id:{wanted.topic}:{wanted.id}",
        sender_id=wanted.id,
        subject=wanted.subject,
        headers=as_header(traceparent) | depth_as_header(call.request.headers) or None,
        occurred_at=call.clock.now(),
    )
    recorded = await publish_by_hand(call.store, new)
    response.headers["Location"] = f"/api/v1/events/{recorded.event_id}"
    if recorded.duplicate:
        response.status_code = 200
    return EventTaken(event_id=recorded.event_id, duplicate=recorded.duplicate)


@events.get("/events", openapi_extra=needs(Action.VIEW))
async def list_all_events(
    call: Calling,
    response: Response,
    *,
    topic: Annotated[
        Annotated[str, AfterValidator(check_topic)] | None, Query(description="A topic, or a pattern with * and #.")
    ] = None,
    source: EventSource | None = None,
    verdict: EventVerdict | Literal["undecided"] | None = None,
    since: Annotated[Moment | None, Query(description="Received then or later.")] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Events:
    """List what came in, newest first: where from, and what became of it."""
    words = {"source": source and source.value, "verdict": verdict and str(verdict)}
    filters = {"topic": topic, **words, "since": since}
    after = await page_start(call, filters, cursor)
    which = EventFilter(topic, words["source"], words["verdict"], since, after, limit)
    rows = await list_events(call.store, call.tenant, which)
    following = await next_page(call, filters, rows, limit, response)
    return Events(events=[Event.model_validate(row) for row in rows], next=following)


@events.get("/events/{event_id}", openapi_extra=needs(Action.VIEW))
async def read_event(call: Calling, event_id: UUID) -> EventDetail:
    """Return an event with its data, its verdict, and what it fired."""
    return EventDetail.model_validate(await get_event(call.store, call.tenant, event_id))
