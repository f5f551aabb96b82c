"""(type, version) → class, and the way in and out of bytes.

Unknown types and versions are errors for the reader to bury with the reason: never dropped,
never requeued.
"""

from collections.abc import Sequence
from typing import Any, Final

from pydantic import TypeAdapter, ValidationError
from pydantic_core import from_json, to_json

from schemas.commands import AttemptReturned, CancelAttempt, ClaimAttempt, FollowAttempt, StartAttempt
from schemas.facts import (
    AttemptFinished,
    AttemptTold,
    ClaimAnswered,
    EventReceived,
    ExecutorHeartbeat,
    FiringDue,
    HeartbeatRecorded,
    RunSettled,
)
from schemas.message import Message

MESSAGES: Final[tuple[type[Message], ...]] = (
    AttemptFinished,
    AttemptReturned,
    AttemptTold,
    CancelAttempt,
    ClaimAnswered,
    ClaimAttempt,
    EventReceived,
    ExecutorHeartbeat,
    FiringDue,
    FollowAttempt,
    HeartbeatRecorded,
    RunSettled,
    StartAttempt,
)

MAX_BODY_BYTES: Final = 1024 * 1024
"""A body above this is buried unread."""


class UnreadableError(Exception):
    """The bytes are no message of ours; ``str()`` says why, for the dead letter's header."""


_ADAPTERS: Final[dict[tuple[str, int], TypeAdapter[Message]]] = {
    (message.type, message.version): TypeAdapter(message) for message in MESSAGES
}


def dump(messages: Sequence[Message]) -> bytes:
    """Return the body for ``messages``: one object for one message, else an array."""
    rows = [{"type": m.type, "v": m.version, **m.model_dump(mode="python", exclude_defaults=True)} for m in messages]
    return to_json(rows[0] if len(rows) == 1 else rows, inf_nan_mode="constants")


def split(body: bytes) -> list[Any]:
    """Return the elements of a body, unvalidated.

    Raises:
        UnreadableError: not JSON, too large, or neither an object nor an array of objects.
    """
    if len(body) > MAX_BODY_BYTES:
        raise UnreadableError(f"body of {len(body)} bytes, at most {MAX_BODY_BYTES} are read")
    try:
        value = from_json(body, allow_inf_nan=False)
    except ValueError as error:
        raise UnreadableError(f"not JSON: {error}") from None
    elements = value if isinstance(value, list) else [value]
    if not elements:
        raise UnreadableError("an empty array")
    return elements


def parse(element: Any) -> Message:
    """Return the message that ``element`` of a body is; unknown fields are ignored.

    Raises:
        UnreadableError: not an object, unknown type or version, or fields that do not fit.
    """
    if not isinstance(element, dict):
        raise UnreadableError(f"an element is {type(element).__name__}, not an object")
    fields = dict(element)
    key = (fields.pop("type", None), fields.pop("v", None))
    try:
        adapter = _ADAPTERS.get(key)
    except TypeError:  # a type or version that is no word or number at all
        adapter = None
    if adapter is None:
        raise UnreadableError(f"unknown type and version {str(key[0])[:100]!r} v{str(key[1])[:20]}")
    try:
        return adapter.validate_python(fields, extra="ignore", strict=False)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise UnreadableError(f"{key[0]} v{key[1]}: {where}: {first['msg']}") from None
