"""How to test jobs: under a virtual clock, without services. Run with: pytest examples/python"""

from datetime import timedelta
from pathlib import Path

from scheduler import TestScheduler

REPORTS = Path(__file__).with_name("reports.py")
MONDAY = "2026-03-02T00:00:00+09:00"


def test_the_sum_follows_the_orders() -> None:
    scheduler = TestScheduler(REPORTS, now=MONDAY)

    made = scheduler.advance(hours=3)

    assert [run.job for run in made if run.job != "heartbeat"] == ["load_orders", "sum_up"]
    assert scheduler.last("sum_up").result == {"total": 245}
    assert scheduler.last("sum_up").attempts[0].output == ("3 orders",)
    assert scheduler.last("sum_up").attempts[0].metrics == {"orders": 3}


def test_no_orders_on_saturdays() -> None:
    scheduler = TestScheduler(REPORTS, now=MONDAY)

    scheduler.advance(days=7)

    loads = [run for run in scheduler.runs if run.job == "load_orders"]
    assert [run.fired_at.isoformat() for run in loads][-1] == "2026-03-05T17:00:00+00:00"
    assert len(loads) == 5


def test_params_by_hand() -> None:
    scheduler = TestScheduler(REPORTS)

    run = scheduler.trigger("load_orders", {"day": "2026-03-01", "minimum": 100})

    assert run.result == {"day": "2026-03-01", "rows": [120]}
    assert scheduler.last("sum_up").result == {"total": 120}


def test_late_orders_are_tried_again() -> None:
    tries = []

    def late() -> dict[str, list[int]]:
        from reports import StaleError

        tries.append(scheduler.now)
        if len(tries) < 3:
            raise StaleError("not yet")
        return {"rows": [1]}

    scheduler = TestScheduler(REPORTS, stand_ins={"load_orders": late})
    run = scheduler.trigger("load_orders")
    assert run.state == "backing_off"
    scheduler.advance(minutes=1)

    assert (run.state, len(run.attempts)) == ("succeeded", 3)
    assert tries[1] - tries[0] < timedelta(seconds=2)
