"""What holds runs back in a TestScheduler, and events in virtual time."""

from datetime import timedelta
from itertools import pairwise

import pytest

from scheduler import Concurrency, TestScheduler, Unique, cron, every, file_keys, job, on_event, on_webhook
from scheduler.errors import ConflictError, NotFoundError

DAY = "2026-03-01T00:00:00Z"


@job(overlap="allow", concurrency=Concurrency(key="disk-{{ params.disk }}", limit=2))
def copy(disk):
    return disk


@job(overlap="allow", concurrency=Concurrency(key="disk-a", limit=2), priority="high")
def check():
    return None


@job(overlap="allow", concurrency=Concurrency(key="{{ params.missing }}"))
def keyless():
    return None


@job(every("1s", starts_at="2026-03-01T00:00:00Z", max_fires=10), overlap="allow", rate="1/m")
def mail():
    return None


@job(overlap="allow", unique=Unique(key="{{ params.order }}", within="1h"))
def bill(order):
    return order


@job(overlap="allow", unique=Unique(key="{{ params.order }}", within="1h", on_duplicate="join"))
def pack(order):
    return order


@job(
    on_event("orders.*.created", where="event.data.amount > `100`", params={"order": "{{ event.data.id }}"}),
    on_webhook("shop", params={"order": "{{ event.data.order }}"}, max_fires=1),
    env={"COUNTRY": "{{ event.data.country | default('none') }}"},
)
def ship(order):
    return order


@job(needs=[ship], params={"topic": "{{ event.topic }}"})
def invoice(topic, ctx):
    return [topic, ctx.results["ship"]]


@job(cron("0 2 * * *", params={"day": "{{ run.fired_at }}"}))
def daily(day):
    return day


HEAD = {"webhooks": {"shop": {"verify": "standard-webhooks", "secrets": [{"env": "SHOP_SECRET"}]}}}


def test_runs_of_a_key_wait_for_a_place_and_the_urgent_go_first():
    scheduler = TestScheduler(copy, check, now=DAY, takes={"copy": "10m", "check": "10m"})
    runs = [scheduler.trigger("copy", {"disk": "a"}) for _ in range(3)]
    other = scheduler.trigger("copy", {"disk": "b"})
    urgent = scheduler.trigger("check")

    assert [run.state for run in (*runs, other, urgent)] == ["running", "running", "ready", "running", "ready"]
    assert runs[2].reason == "key disk-a: 2 of 2 places are taken"
    scheduler.advance(minutes=10)
    assert [run.state for run in (runs[0], urgent, runs[2])] == ["succeeded", "running", "running"]
    scheduler.advance(minutes=10)
    assert (runs[2].state, runs[2].reason, runs[2].result) == ("succeeded", None, "a")


def test_places_are_free_again_when_runs_take_no_time():
    scheduler = TestScheduler(copy, now=DAY)

    assert [scheduler.trigger("copy", {"disk": "a"}).state for _ in range(5)] == ["succeeded"] * 5


def test_key_that_cannot_be_filled_fails_the_run():
    run = TestScheduler(keyless).trigger("keyless")

    assert run.state == "failed"
    assert "concurrency.key cannot be filled" in run.reason


def test_rate_spreads_starts_over_time():
    scheduler = TestScheduler(mail, now=DAY)

    scheduler.advance(seconds=9)
    assert [run.state for run in scheduler.runs] == ["succeeded"] + ["ready"] * 8
    assert "1/m: the next may start at 2026-03-01T00:00:5" in scheduler.runs[1].reason
    scheduler.advance(minutes=10)

    begun = [run.attempts[0].started_at for run in scheduler.runs]
    assert {later - before for before, later in pairwise(begun[1:])} == {timedelta(minutes=1)}


def test_firing_with_the_key_of_another_run_is_a_duplicate_or_joins_it():
    scheduler = TestScheduler(bill, pack, now=DAY)
    first, packed = scheduler.trigger("bill", {"order": 7}), scheduler.trigger("pack", {"order": 7})

    with pytest.raises(ConflictError, match=r"duplicate, run bill#1 has the same unique\.key"):
        scheduler.trigger("bill", {"order": 7})
    assert scheduler.trigger("pack", {"order": 7}) is packed
    assert scheduler.trigger("bill", {"order": 8}).state == "succeeded"
    scheduler.advance(hours=1)
    assert scheduler.trigger("bill", {"order": 7}).id != first.id


def shop() -> TestScheduler:
    from types import ModuleType

    module = ModuleType("virtual_shop")
    vars(module).update(head=file_keys(**HEAD), ship=ship, invoice=invoice)
    return TestScheduler(module, now=DAY)


def test_event_fires_what_waits_for_it_and_the_whole_flow_sees_it():
    scheduler = shop()

    assert scheduler.event("orders.eu.created", {"id": 6, "amount": 100}) == []
    shipped, invoiced = scheduler.event("orders.eu.created", {"id": 7, "amount": 120})

    assert (shipped.job, shipped.state, shipped.result) == ("ship", "succeeded", 7)
    assert (invoiced.state, invoiced.result) == ("succeeded", ["orders.eu.created", 7])
    (row,) = scheduler.firings
    assert (row.job, row.verdict, row.run, row.fires_at) == ("ship", "started", "ship#1", scheduler.now)


def test_webhook_fires_as_often_as_it_may():
    scheduler = shop()

    made = scheduler.webhook("shop", {"order": 3})

    assert [run.result for run in made] == [3, ["webhook.shop", 3]]
    assert scheduler.webhook("shop", {"order": 4}) == []
    with pytest.raises(NotFoundError, match="there is no webhook stop"):
        scheduler.webhook("stop")


def test_event_that_lacks_what_params_are_made_of_is_invalid():
    scheduler = shop()

    assert scheduler.event("orders.eu.created", {"amount": 120}) == []
    assert [row.verdict for row in scheduler.firings] == ["invalid"]
    assert "params cannot be filled" in scheduler.firings[0].reason


@pytest.mark.parametrize(("topic", "data"), [("", {}), ("a b", {}), ("a", {"x": object()})])
def test_what_is_no_event_is_refused(topic, data):
    with pytest.raises(ValueError, match=r".+"):
        shop().event(topic, data)


@job(on_event("bulk", collect={"max": 2, "within": "1m"}))
def gathered():
    return None


def test_trigger_that_gathers_events_does_not_fire_for_one():
    assert TestScheduler(gathered, now=DAY).event("bulk") == []


def test_params_of_a_trigger_of_the_clock_are_filled():
    (run,) = TestScheduler(daily, now=DAY).advance(hours=2)

    assert run.result == "2026-03-01T02:00:00+00:00"
