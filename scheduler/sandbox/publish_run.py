"""Runs one attempt as a message that is published, after a look at where it goes."""

import json
from typing import Final

from scheduler.clock import Clock
from scheduler.domain.causation import DEPTH_HEADER
from scheduler.ports import AttemptContext, Ended, StopRequest
from scheduler.sandbox.environment import UnusableOrderError, attempt_traceparent
from scheduler.sandbox.output import one_line
from scheduler.sandbox.supervised import within_limits
from scheduler.sending import EVENTS, OWN_PREFIX, Letter, NotSentError, Sender
from schemas.vocabulary import Outcome
from schemas.work import PublishWork, WorkOrder

_LONGEST_KEY: Final = 255
_MORE_KEYS: Final = frozenset({"cc", "bcc"})
"""Headers by which RabbitMQ sends a message elsewhere as well."""


class PublishRuns:
    """Publishes by ``sender``; refuses what would reach into the scheduler or into another tenant."""

    def __init__(self, sender: Sender, clock: Clock) -> None:
        self._sender = sender
        self._clock = clock

    async def run(self, order: WorkOrder, work: PublishWork, context: AttemptContext, stop: StopRequest) -> Ended:
        """Return how it ended: succeeded when the broker has confirmed the message. CancelledError ends it."""
        letter = make_letter(work, context, attempt_traceparent(order.flow_id, context))
        return await within_limits(self._attempt(letter), order.limits, stop, self._clock)

    async def _attempt(self, letter: Letter) -> Ended:
        try:
            await self._sender.send(letter)
        except NotSentError as error:
            return Ended(Outcome.FAILED, reason=one_line(str(error)), exception=type(error).__name__)
        return Ended(Outcome.SUCCEEDED)


def make_letter(work: PublishWork, context: AttemptContext, traceparent: str) -> Letter:
    """Return the message that ``work`` asks for; a ``traceparent`` of the job's own goes before the one given here.

    Raises:
        UnusableOrderError: it may not go there, or cannot be sent.
    """
    if work.exchange.startswith(OWN_PREFIX) and work.exchange != EVENTS:
        raise UnusableOrderError(f"jobs may not publish to {work.exchange}: of the scheduler's own only to {EVENTS}")
    if not work.exchange or work.exchange == "amq.default":
        raise UnusableOrderError("jobs may not publish to the default exchange: it leads to every queue")
    if work.exchange == EVENTS and not work.routing_key.startswith(f"{context.tenant}."):
        raise UnusableOrderError(f"the routing key of an event begins with the job's tenant: {context.tenant}.…")
    if len(work.routing_key.encode()) > _LONGEST_KEY:
        raise UnusableOrderError(f"the routing key has more than {_LONGEST_KEY} bytes")
    for name in work.headers:
        if name.lower() in _MORE_KEYS or len(name.encode()) > _LONGEST_KEY // 2:
            raise UnusableOrderError(f"{name[:40]!r} cannot be a header of a job's message")
    text = work.text
    body = json.dumps(work.json_body).encode() if text is None else text.encode()
    content_type = "application/json" if text is None else "text/plain"
    given = any(name.lower() == "traceparent" for name in work.headers)
    traced = {} if given else {"traceparent": traceparent}
    headers = {name: value for name, value in work.headers.items() if name.lower() != DEPTH_HEADER}
    headers |= traced | {DEPTH_HEADER: str(work.depth)}
    return Letter(work.exchange, work.routing_key, body, content_type, str(context.run_id), headers)
