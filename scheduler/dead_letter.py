"""What a buried message looks like; each one that is made is counted."""

from typing import Any, Final

from pydantic_core import to_json

from scheduler.counts import COUNTS
from scheduler.ports import Delivery, Out

DEAD_LETTERS: Final = "scheduler.dead-letters"

MAX_REASON_CHARS: Final = 1000


def dead_letter(delivery: Delivery, reason: str) -> Out:
    """Return the copy of ``delivery`` for the dead letters.

    Key, body, id and content type stay; the headers stay as far as they are text, numbers or
    truth values, and tell the reason and where the message came from. The reason is cut to
    ``MAX_REASON_CHARS``.
    """
    COUNTS.buried[delivery.queue] += 1
    kept = {name: value for name, value in delivery.headers.items() if isinstance(value, str | int | bool)}
    return Out(
        exchange=DEAD_LETTERS,
        key=delivery.key,
        body=delivery.body,
        message_id=delivery.message_id,
        content_type=delivery.content_type,
        headers={
            **kept,
            "x-reason": reason[:MAX_REASON_CHARS],
            "x-origin-queue": delivery.queue,
            "x-origin-exchange": delivery.exchange,
        },
    )


def element_letter(delivery: Delivery, element: Any, reason: str) -> Out:
    """Return the dead letter of one element of a body, whose others were handled."""
    COUNTS.buried[delivery.queue] += 1
    headers = {"x-reason": reason[:MAX_REASON_CHARS], "x-origin-queue": delivery.queue}
    return Out(DEAD_LETTERS, delivery.queue, to_json(element, inf_nan_mode="constants"), headers=headers)
