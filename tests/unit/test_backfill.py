"""Which instants a backfill runs, and by which definition: pure, without a database."""

import itertools
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from scheduler.domain.backfill import (
    NOT_STARTED,
    Ledger,
    LedgerRow,
    TooManyInstantsError,
    periods,
    select,
    version_at,
    walk,
    whole_downstream,
)
from scheduler.domain.gates import JobEntry
from scheduler.domain.planned import MICROSECOND, PlannedInstant
from scheduler.domain.schedule import build_schedule
from schemas.job_spec import JobSpec
from schemas.trigger_spec import EveryTrigger
from schemas.vocabulary import Verdict

START = datetime(2026, 3, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)


def instant(hour: int, wall: str = "w", skipped: Verdict | None = None) -> PlannedInstant:
    return PlannedInstant(START + hour * HOUR, wall, "UTC", skipped)


def row(verdict: Verdict | None, hour: int, to: int | None = None, wall: str = "w") -> LedgerRow:
    return LedgerRow(UUID(int=hour), START + hour * HOUR, None if to is None else START + to * HOUR, wall, verdict)


@pytest.mark.parametrize("verdict", [None, *Verdict])
def test_an_instant_is_missing_by_its_verdict(verdict: Verdict | None) -> None:
    ledger = Ledger([row(verdict, 1)])

    assert (verdict in NOT_STARTED) == bool(list(select([instant(1)], ledger, again=False)))
    expected = verdict in NOT_STARTED or verdict is Verdict.STARTED
    assert expected == bool(list(select([instant(1)], ledger, again=True)))


def test_stretches_hold_what_lies_in_them_and_nothing_else() -> None:
    ledger = Ledger([row(Verdict.PAUSED, 0, to=3), row(Verdict.STARTED, 4), row(Verdict.MISFIRED, 5, to=6)])

    found = {m.at.fires_at: m.row for m in select(map(instant, range(9)), ledger, again=False)}

    hours = {int((at - START) / HOUR): None if held is None else held.verdict for at, held in found.items()}
    paused, misfired = Verdict.PAUSED, Verdict.MISFIRED
    assert {0: paused, 1: paused, 2: paused, 3: paused, 5: misfired, 6: misfired, 7: None, 8: None} == hours


def test_two_wall_times_of_one_instant_have_rows_of_their_own() -> None:
    ledger = Ledger([row(Verdict.STARTED, 1, wall="02:00"), row(Verdict.MERGED, 1, wall="03:00")])

    found = [m.at.wall_time for m in select([instant(1, "02:00"), instant(1, "03:00")], ledger, again=False)]

    assert ["03:00"] == found


@pytest.mark.parametrize("again", [False, True])
def test_what_another_backfill_has_is_left_out(*, again: bool) -> None:
    ledger = Ledger(taken=frozenset({(START, "w")}))

    assert [START + HOUR] == [m.at.fires_at for m in select([instant(0), instant(1)], ledger, again=again)]


class Given:
    """A schedule of the instants it is given."""

    def __init__(self, *instants: PlannedInstant) -> None:
        self._instants = instants

    def next_after(self, at: datetime) -> PlannedInstant | None:
        return next((planned for planned in self._instants if planned.fires_at > at), None)


def test_walk_takes_both_ends_and_leaves_out_what_the_schedule_does() -> None:
    schedule = Given(instant(0), instant(1, skipped=Verdict.DST_GAP), instant(2), instant(3))

    assert [instant(0), instant(2)] == walk(schedule, START, START + 2 * HOUR)


def test_walk_refuses_more_than_its_limit() -> None:
    schedule = build_schedule(
        EveryTrigger.model_validate({"every": "1h"}), timezone="UTC", hash_key="", anchor=START - HOUR
    )

    assert 24 == len(walk(schedule, START, START + 23 * HOUR, 24))
    with pytest.raises(TooManyInstantsError, match="more than 24 instants"):
        walk(schedule, START, START + 24 * HOUR, 24)


@pytest.mark.parametrize(("hour", "expected"), [(-1, (1, False)), (0, (1, True)), (1, (1, True)), (2, (2, True))])
def test_version_in_force_is_the_newest_applied_by_then(hour: int, expected: tuple[int, bool]) -> None:
    assert expected == version_at([(START, 1), (START + 2 * HOUR, 2)], START + hour * HOUR)


def test_periods_leave_no_instant_out_and_agree_with_the_version_in_force() -> None:
    versions = [(START, 1), (START + 2 * HOUR, 2), (START + 3 * HOUR, 3)]

    found = list(periods(versions, START - HOUR, START + 9 * HOUR))

    assert [(1, False), (1, True), (2, True), (3, True)] == [(p.version, p.in_force) for p in found]
    assert (START - HOUR, START + 9 * HOUR) == (found[0].first, found[-1].last)
    assert all(after.first - before.last == MICROSECOND for before, after in itertools.pairwise(found))
    assert all(version_at(versions, at) == (p.version, p.in_force) for p in found for at in (p.first, p.last))
    assert [2] == [p.version for p in periods(versions, START + 2 * HOUR, START + 2 * HOUR)]
    assert [] == list(periods([], START, START + HOUR))


def entry(name: str, *needs: str) -> JobEntry:
    fields: dict[str, Any] = {"run": {"command": ["true"]}, "needs": list(needs)}
    return JobEntry(
        UUID(int=hash(name) % 2**64), name, 1, enabled=True, paused=False, spec=JobSpec.model_validate(fields)
    )


def test_downstream_is_whole_where_nothing_from_outside_is_needed() -> None:
    jobs = [entry("b", "a"), entry("c", "b", "x"), entry("d", "a", "b"), entry("e", "c"), entry("f")]

    assert ["b", "d"] == [job.name for job in whole_downstream("a", jobs)]
