"""Messages that ask: imperative mood, one actor hears each."""

from typing import Annotated, ClassVar
from uuid import UUID

from pydantic import AwareDatetime, Field

from schemas.message import TRACEPARENT, Attempt, Command, Name
from schemas.vocabulary import ReturnReason
from schemas.work import WorkOrder


class StartAttempt(Command):
    """The Dispatcher's offer of one attempt to whichever executor of the pool takes it.

    An offer may be lost, repeated or late: it starts nothing. The executor has to claim it.
    """

    type: ClassVar[str] = "attempt.start"

    run_id: UUID
    attempt: Attempt
    lease_token: UUID
    pool: str
    store: Name | None = None
    """The tenant's own database, whose Recorders hear of the attempt; None: the main one."""
    order: WorkOrder
    patient: bool = False
    """It was handed back for want of room, again and again: an executor keeps room for it that gets free."""
    starts_at: AwareDatetime | None = None
    """It is offered a moment ahead: to be claimed at once, and started at this instant. None: as soon as granted."""
    traceparent: Annotated[str | None, Field(pattern=TRACEPARENT)] = None
    """The trace that the flow was given; None: it has its own."""


class ClaimAttempt(Command):
    """An executor asks to start an attempt it holds an offer of; answered by ClaimAnswered."""

    type: ClassVar[str] = "attempt.claim"

    run_id: UUID
    attempt: Attempt
    lease_token: UUID
    claim_id: UUID
    """New for every delivery of an offer, the same when the claim is sent again."""
    executor: str
    boot_id: UUID


class CancelAttempt(Command):
    """Stop the attempt if it runs here; a wish, repeated in HeartbeatRecorded until it is done."""

    type: ClassVar[str] = "attempt.cancel"

    run_id: UUID
    attempt: Attempt
    lease_token: UUID
    at_once: bool = False
    """Kill it without the grace."""


class FollowAttempt(Command):
    """Tell what the attempt writes, for some seconds from now: somebody looks. Repeated while they do."""

    type: ClassVar[str] = "attempt.follow"

    run_id: UUID
    attempt: Attempt
    lease_token: UUID
    from_byte: Annotated[int, Field(ge=0)] | None = None
    """Begin there, again if need be; None: go on with what was not told yet."""


class AttemptReturned(Command):
    """An executor hands back an attempt it has not started, and never will under this claim."""

    type: ClassVar[str] = "attempt.returned"

    run_id: UUID
    attempt: Attempt
    lease_token: UUID
    claim_id: UUID | None = None
    """The claim that was granted too late; None: the offer was never claimed."""
    reason: ReturnReason
