"""What a run says while it runs, as a stream: output, progress, ends of attempts, its end."""

from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID

from fastapi import Response

from scheduler.api.problems import ProblemError
from scheduler.api.route import Call
from scheduler.api.streams import Said, Source
from scheduler.store.following import LOOK_S, AttemptOver, Follower, Missed, RunOver, Word, Wrote

ABOUT: Final = (
    "Events `output`, `missed`, `progress`, `attempt_over` and `run_over`; the id is the attempt to begin with "
    "again. A reader that comes again after `run_over` is answered 204, which ends an EventSource."
)
_OVER: Final = "over"
_LARGEST: Final = 1_000_000


async def stream_run(call: Call, run_id: UUID, attempt: int | None, last_event_id: str | None) -> Response:
    """Return the stream of a run from ``attempt`` on, or from that of the last event that a reader has.

    Raises:
        NotFoundError: there is no such run.
        ProblemError: 400, that is no id of ours; 429, see Streams.
    """
    if last_event_id == _OVER:
        return Response(status_code=204)
    begin = attempt or 1
    if last_event_id is not None:
        if not last_event_id.isdecimal() or not 0 < int(last_event_id) <= _LARGEST:
            raise ProblemError(400, "Last-Event-ID is not one of this stream", code="bad_cursor")
        begin = int(last_event_id)
    follower = Follower(call.store, call.tenant, run_id, call.clock, attempt=begin)
    words = await follower.look()
    return call.site.streams.answer(call.caller.account, _said(call, follower, words, begin))


async def _said(call: Call, follower: Follower, words: Sequence[Word], attempt: int) -> Source:
    while True:
        for word in words:
            said = _event(word)
            attempt = attempt if isinstance(word, RunOver) else word.attempt + isinstance(word, AttemptOver)
            yield Said(_OVER if isinstance(word, RunOver) else str(attempt), *said)
            if isinstance(word, RunOver):
                return
        yield Said(str(attempt))
        await call.site.streams.pause(LOOK_S)
        words = await follower.look()


def _event(word: Word) -> tuple[str, dict[str, Any]]:
    match word:
        case Wrote(attempt, text):
            return "output", {"attempt": attempt, "text": text}
        case Missed(attempt, size):
            return "missed", {"attempt": attempt, "bytes": size}
        case AttemptOver(attempt, outcome, reason):
            return "attempt_over", {"attempt": attempt, "outcome": outcome, "reason": reason}
        case RunOver(job, state, reason):
            return "run_over", {"job": job, "state": state, "reason": reason}
        case _:
            told = word.told
            return "progress", {
                "attempt": word.attempt, "done": told.done, "total": told.total, "message": told.message
            }  # fmt: skip
