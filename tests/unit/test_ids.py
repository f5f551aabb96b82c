from datetime import UTC, datetime, timedelta

from scheduler.clock import VirtualClock
from scheduler.ids import first_id, uuid7

START = datetime(2026, 3, 1, tzinfo=UTC)


def test_ids_of_one_process_sort_by_the_order_in_which_they_were_made() -> None:
    clock = VirtualClock(START)

    made = [uuid7(clock) for _ in range(1000)]

    assert sorted(set(made)) == made


def test_an_id_says_when_it_was_made() -> None:
    made = uuid7(VirtualClock(START))

    assert (made.version, made.variant) == (7, "specified in RFC 4122")
    assert made.int >> 80 == int(START.timestamp() * 1000)
    assert first_id(START) <= made < first_id(START + timedelta(milliseconds=1))


def test_an_id_of_an_earlier_time_is_no_later_id() -> None:
    """A clock was set back, or another one is used: ids tell its time."""
    late = uuid7(VirtualClock(START + timedelta(seconds=1)))

    assert uuid7(VirtualClock(START)) < late
