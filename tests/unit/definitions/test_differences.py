"""What differs between two definitions of a job, and which firings that adds and removes."""

from datetime import UTC, datetime, timedelta
from typing import Any

from scheduler.definitions.differences import Difference, differences
from scheduler.simulation.forecast import MOST, Forecast, Side, forecast
from scheduler.simulation.upcoming import Upcoming
from schemas.job_spec import JobSpec

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
WEEK = timedelta(days=7)
AT_TWO = {"cron": "0 2 * * *", "id": "night"}
AT_THREE = {"cron": "0 3 * * *", "id": "night"}


def job(*triggers: dict[str, Any], **keys: Any) -> JobSpec:
    return JobSpec.model_validate({"run": {"command": ["x"]}, "triggers": triggers, **keys})


def side(*triggers: dict[str, Any], enabled: bool = True, **anchors: datetime) -> Side:
    return Side("a", job(*triggers), enabled, Upcoming("default", NOW, {}), anchors)


def foreseen(before: Side | None, after: Side | None) -> Forecast:
    return forecast(before, after, NOW, WEEK)


def test_equal_definitions_do_not_differ():
    assert [] == differences(job(AT_TWO, timeout="5m"), job(AT_TWO, timeout={"hard": "300s"}))


def test_each_key_that_differs_is_named_with_both_values():
    old = job(timeout="5m", params={"a": 1, "b": 2}, needs=["x"])
    new = job(timeout="6m", params={"a": 1, "c": 3}, needs=["x", "y"], pool="big")

    found = {difference.path: (difference.old, difference.new) for difference in differences(old, new)}

    assert ("5m", "6m") == found["timeout.hard"]
    assert ("default", "big") == found["pool"]
    assert {"params.b": (2, None), "params.c": (None, 3)}.items() <= found.items()
    assert {"timeout.hard", "pool", "params.b", "params.c", "needs"} == found.keys()


def test_triggers_are_named_by_their_keys():
    later = AT_THREE | {"id": "later"}

    assert [Difference("triggers.night", AT_TWO, AT_THREE), Difference("triggers.later", None, later)] == differences(
        job(AT_TWO), job(AT_THREE, later)
    )


def test_firings_that_come_and_go():
    found = foreseen(side(AT_TWO), side(AT_THREE))

    assert (7, 7, NOW + WEEK) == (found.added, found.removed, found.until)
    assert datetime(2026, 3, 2, 3, tzinfo=UTC) == found.first_added[0]
    assert [2, 3, 4, 5, 6] == [at.day for at in found.first_removed]


def test_what_fires_before_and_after_is_neither():
    assert (1, 0) == ((found := foreseen(side(AT_TWO), side(AT_TWO, {"cron": "0 9 2 * *"}))).added, found.removed)


def test_a_new_job_adds_and_one_that_goes_or_is_disabled_removes():
    assert [(7, 0), (0, 7), (0, 7), (0, 0)] == [
        (found.added, found.removed)
        for found in (
            foreseen(None, side(AT_TWO)),
            foreseen(side(AT_TWO), None),
            foreseen(side(AT_TWO), side(AT_TWO, enabled=False)),
            foreseen(side(AT_TWO, enabled=False), side(AT_THREE, enabled=False)),
        )
    ]


def test_an_interval_goes_on_from_its_first_apply():
    hourly, applied = {"every": "1h", "id": "hourly"}, NOW - timedelta(minutes=30)

    found = foreseen(side(hourly, hourly=applied), side(hourly, hourly=applied))

    assert (0, 0) == (found.added, found.removed)
    assert 168 == foreseen(None, side(hourly)).added


def test_very_many_firings_are_compared_up_to_where_they_end():
    every_second = {"every": "1s", "id": "s"}

    found = foreseen(None, side(every_second))

    assert (MOST, NOW + timedelta(seconds=MOST)) == (found.added, found.until)
