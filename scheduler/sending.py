"""What a ``publish`` run asks of the world: to send one message for a job, by a way that harms nobody else's."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

from scheduler.errors import SchedulerError

EVENTS: Final = "scheduler.events"
OWN_PREFIX: Final = "scheduler."
"""Exchanges with such names are ours; jobs may publish to ``EVENTS`` only."""


class NotSentError(SchedulerError):
    """A message was not taken; the text says why, in one line."""

    code = "not_sent"


@dataclass(frozen=True, slots=True)
class Letter:
    """One message of a job. The same run sends the same ``message_id`` at each of its attempts."""

    exchange: str
    routing_key: str
    body: bytes
    content_type: str
    message_id: str
    headers: Mapping[str, str] = field(default_factory=dict)


class Sender(Protocol):
    """The way out for jobs, apart from that of the actors: a job's mistake closes channels."""

    async def send(self, letter: Letter) -> None:
        """Return when the broker has confirmed that a queue has the message.

        Raises:
            NotSentError: no queue took it, the broker refused it, or is away.
        """
        ...

    async def close(self) -> None: ...


class NoSender:
    """For executors without a broker to publish to."""

    async def send(self, letter: Letter) -> None:
        raise NotSentError(f"this executor has no broker to publish to {letter.exchange}")

    async def close(self) -> None:
        pass
