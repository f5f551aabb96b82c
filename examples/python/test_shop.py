"""How to test jobs that wait for events. Run with: pytest examples/python"""

from pathlib import Path

import pytest

from scheduler import TestScheduler
from scheduler.errors import ConflictError

SHOP = Path(__file__).with_name("shop.py")


def test_an_order_is_sent_and_billed() -> None:
    scheduler = TestScheduler(SHOP)

    sent, billed = scheduler.event("orders.eu.created", {"id": 7, "amount": 120})

    assert sent.result == {"parcel": 1007}
    assert billed.result == "parcel 1007 of orders.eu.created"


def test_an_order_that_is_told_twice_is_sent_once() -> None:
    scheduler = TestScheduler(SHOP)

    for _ in range(2):
        scheduler.event("orders.eu.created", {"id": 7, "amount": 120})

    assert [firing.verdict for firing in scheduler.firings] == ["started", "duplicate"]
    with pytest.raises(ConflictError, match="duplicate"):
        scheduler.trigger("send", {"order": 7})


def test_the_carrier_takes_two_at_a_time() -> None:
    scheduler = TestScheduler(SHOP, takes={"send": "1m"})

    sent = [scheduler.event("orders.eu.created", {"id": number, "amount": 1})[0] for number in range(3)]

    assert [run.state for run in sent] == ["running", "running", "ready"]
    scheduler.advance(minutes=2)
    assert [run.state for run in sent] == ["succeeded"] * 3


def test_the_carrier_tells_what_has_arrived() -> None:
    (run,) = TestScheduler(SHOP).webhook("carrier", {"parcel": 1007})

    assert run.result == 1007
