"""What every message is: frozen, typed, versioned.

A body on the wire is one JSON object or an array of them, each ``{"type", "v", ...fields}``.
Writers refuse unknown fields; readers ignore them, so that a new optional field needs no new
version and old and new processes can share a queue during an upgrade.
"""

from typing import Annotated, ClassVar, Final
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")]
TRACEPARENT: Final = r"^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$"
"""W3C trace context, version 00."""
Attempt = Annotated[int, Field(ge=1, le=1_000_000)]
"""The number of a try of a run, from 1; with the lease token it is the fence."""


class Message(BaseModel):
    """Base of all messages. ``type`` is also the routing key, the log name and the metric label."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, hide_input_in_errors=True)

    type: ClassVar[str]
    version: ClassVar[int] = 1

    tenant: Name


class Command(Message):
    """A message that asks one actor to do something."""


class Fact(Message):
    """A message that tells what happened."""


class AttemptKey(BaseModel):
    """Names one attempt and proves the right to speak of it: run, number and lease token."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    run_id: UUID
    attempt: Attempt
    lease_token: UUID


__all__ = ["TRACEPARENT", "Attempt", "AttemptKey", "AwareDatetime", "Command", "Fact", "Message", "Name"]
