"""The last word on an attempt, made so that it can always be said."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import structlog

from actors.executing.running import Run
from actors.executing.telling import progress_of
from scheduler.ports import Ended
from schemas.facts import AttemptFinished, Output
from schemas.registry import dump
from schemas.vocabulary import Outcome
from schemas.work import HttpWork

log: structlog.stdlib.BoundLogger = structlog.get_logger()

BODY_BYTES: Final = 100 * 1024
"""No end is longer, and ends are packed into bodies up to this size."""
_UNSAYABLE: Final = "how it ended could not be written"
_TOO_LARGE: Final = "its result was too large to be sent"


@dataclass(frozen=True, slots=True)
class Reporter:
    """Who speaks."""

    executor: str
    boot_id: UUID


def finished(run: Run, end: Ended, seq: int, by: Reporter, *, at: tuple[datetime, float]) -> AttemptFinished:
    """Return the fact for the end of ``run`` under place ``seq``; ``at`` is now, for people and monotonic.

    An abandoned run is lost, whatever the sandbox says. An end that no message can hold keeps its
    outcome and loses its particulars.
    """
    start = run.start
    known: dict[str, Any] = {
        "tenant": start.tenant,
        "run_id": start.run_id,
        "attempt": start.attempt,
        "lease_token": start.lease_token,
        "claim_id": run.claim_id,
        "executor": by.executor,
        "boot_id": by.boot_id,
        "store": start.store,
        "end_seq": seq,
        "started_at": run.started_at,
        "finished_at": at[0],
        "elapsed_s": at[1] - run.began,
        "circuit": start.order.work.circuit if isinstance(start.order.work, HttpWork) else None,
        "progress": progress_of(run.voice),
    }
    try:
        return AttemptFinished(**known, **_particulars(run, end))
    except ValueError:
        log.exception("end.unsayable", run_id=str(start.run_id), attempt=start.attempt)
        return AttemptFinished(**known, outcome=end.outcome, reason=_UNSAYABLE)


def line_of(fact: AttemptFinished) -> bytes:
    """Return the JSON of ``fact``, at most BODY_BYTES long: output that JSON's escapes blow up is cut again."""
    try:
        line = dump([fact])
    except ValueError:
        log.exception("end.unsayable", run_id=str(fact.run_id), attempt=fact.attempt)
        return dump([fact.model_copy(update={**_WITHOUT_PARTICULARS, "reason": _UNSAYABLE})])
    output = fact.output
    while len(line) > BODY_BYTES and output is not None and (output.head or output.tail):
        output = _halved(output)
        line = dump([fact.model_copy(update={"output": output})])
    if len(line) > BODY_BYTES:
        line = dump([fact.model_copy(update={**_WITHOUT_PARTICULARS, "reason": _TOO_LARGE})])
    return line


_WITHOUT_PARTICULARS: Final[Mapping[str, None]] = {
    "result": None,
    "output": None,
    "exception": None,
    "exception_bases": None,
}


def _particulars(run: Run, end: Ended) -> dict[str, Any]:
    if run.abandoned is not None:
        return {
            "outcome": Outcome.LOST,
            "reason": run.abandoned,
            "output": end.output,
            "usage": end.usage,
            "metrics": end.metrics,
        }
    return {
        "outcome": end.outcome,
        "reason": end.reason,
        "exit_code": end.exit_code,
        "signal": end.signal,
        "http_status": end.http_status,
        "exception": end.exception,
        "exception_bases": end.exception_bases or None,
        "retry_after_s": end.retry_after_s,
        "result": end.result,
        "output": end.output,
        "usage": end.usage,
        "metrics": end.metrics,
    }


def _halved(output: Output) -> Output:
    head, tail = output.head, output.tail
    if not tail:  # all of it was in ``head``; from now on it is cut in the middle
        middle = len(head) // 2
        head, tail = head[:middle], head[middle:]
    return Output(head=head[: len(head) // 2], tail=tail[len(tail) - len(tail) // 2 :], total_bytes=output.total_bytes)
