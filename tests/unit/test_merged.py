"""Several triggers together, and what is left to them of max_fires."""

from datetime import UTC, datetime, timedelta

from scheduler.domain.merged import Limited, merge
from scheduler.domain.planned import PlannedInstant
from schemas.vocabulary import Verdict

NOW = datetime(2026, 3, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)


class Hourly:
    """Every ``step`` hours from NOW; ``closed`` hours are left out."""

    def __init__(self, step: int, *closed: int) -> None:
        self.step, self.closed = step, closed

    def next_after(self, instant: datetime) -> PlannedInstant | None:
        hour = ((instant - NOW) // (self.step * HOUR) + 1) * self.step
        return PlannedInstant(NOW + hour * HOUR, "", "UTC", Verdict.SKIPPED_CALENDAR if hour in self.closed else None)


def hours(instants: "list[PlannedInstant] | tuple[PlannedInstant, ...]") -> list[int]:
    return [(at.fires_at - NOW) // HOUR for at in instants]


def test_equal_instants_are_one() -> None:
    found = merge([Limited(Hourly(2)), Limited(Hourly(3))], NOW, NOW, 5)

    assert (hours(list(found.fires)), found.is_all) == ([2, 3, 4, 6, 8], False)


def test_what_is_left_is_spent_from_now_on_and_not_from_the_time_asked_for() -> None:
    three = [Limited(Hourly(1), 3)]

    assert [2, 3] == hours(list(merge(three, NOW + HOUR, NOW, 5).fires))
    assert [] == list(merge(three, NOW + 9 * HOUR, NOW, 5).fires)
    assert [-1, 0, 1, 2, 3] == hours(list(merge(three, NOW - 2 * HOUR, NOW, 9).fires))
    assert merge([Limited(Hourly(1), 0)], NOW, NOW, 5).is_all


def test_what_is_left_out_spends_nothing_and_is_told_up_to_the_last_firing() -> None:
    found = merge([Limited(Hourly(1, 2, 5), 3)], NOW, NOW, 3)
    assert ([1, 3, 4], [2, 5]) == (hours(list(found.fires)), hours(list(found.left_out)))

    cut = merge([Limited(Hourly(1, 2, 5))], NOW, NOW, 3)
    assert ([1, 3, 4], [2], False) == (hours(list(cut.fires)), hours(list(cut.left_out)), cut.is_all)
