"""What the log says of attempts that did not end well, as rows for :mod:`scheduler.run_lines`."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from scheduler import run_lines
from scheduler.domain.run_state import Move
from scheduler.domain.trace import trace_id_of
from schemas.vocabulary import Outcome, RunState

if TYPE_CHECKING:
    from scheduler.store.settling import Settlement

_KEYS: Final = (*run_lines.KEYS, "outcome", "reason", "executor", "delay_s")


def say_ends(settlements: Sequence["Settlement"]) -> None:
    """Write a line for each that is retried, snoozed, cancelled or failed for good; successes have theirs."""
    rows: dict[str, list[tuple[Any, ...]]] = {}
    for settlement in settlements:
        if (name := _name(settlement)) is not None:
            rows.setdefault(name, []).append(_row(settlement))
    for name, said in rows.items():
        run_lines.say(name, "recorder", _KEYS, said)


def _name(settlement: "Settlement") -> str | None:
    fact = settlement.fact
    if settlement.decision.move is Move.RETRY:
        return "run.snoozed" if fact is not None and fact.outcome is Outcome.SNOOZED else "run.retried"
    return {RunState.FAILED: "run.failed", RunState.CANCELLED: "run.cancelled"}.get(settlement.state)


def _row(settlement: "Settlement") -> tuple[Any, ...]:
    run, fact, delay = settlement.run, settlement.fact, settlement.decision.delay
    return (
        run["tenant"],
        run["job_name"],
        run["id"],
        run["attempt"],
        None if fact is None else round(fact.elapsed_s * 1000, 3),
        trace_id_of(run["flow_id"], run["traceparent"]),
        (Outcome.LOST if fact is None else fact.outcome).value,
        settlement.decision.reason or (fact.reason if fact else None),
        run["executor"],
        None if delay is None else round(delay.total_seconds(), 3),
    )
