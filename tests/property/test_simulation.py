"""Stretches taken in one go are what working them out one by one gives."""

from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from scheduler.domain.schedule import build_schedule
from scheduler.simulation.assumptions import Assumptions
from scheduler.simulation.cursors import instants_of
from scheduler.simulation.instants import to_us
from scheduler.simulation.simulate import Simulation, simulate
from schemas.job_spec import JobSpec
from schemas.trigger_spec import CronTrigger

T0 = datetime(2026, 3, 27, tzinfo=UTC)
ZONES = st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Africa/Cairo"])
MINUTES = st.sampled_from(["0", "30", "7,50", "*/20"])
HOURS = st.sampled_from(["*", "*/2", "2", "0,1,2,3", "23"])
DAYS = st.sampled_from(["* * *", "* * 0", "1-10 * *", "L * *"])
CRONS = st.builds("{} {} {}".format, MINUTES, HOURS, DAYS)
SPANS = st.integers(1, 4 * 24 * 60).map(lambda minutes: timedelta(minutes=minutes))


@settings(deadline=None)
@given(
    trigger=st.builds(CronTrigger, cron=CRONS, dst=st.sampled_from([None, {"gap": "skip"}, {"fold": "both"}])),
    zone=ZONES,
    since=st.integers(0, 15 * 365 * 24 * 60).map(lambda m: datetime(2011, 1, 1, tzinfo=UTC) + timedelta(minutes=m)),
    width=SPANS,
)
@example(CronTrigger(cron="30 * * * *"), "Australia/Lord_Howe", datetime(2026, 4, 4, tzinfo=UTC), timedelta(days=3))
@example(CronTrigger(cron="0 0 * * *"), "Pacific/Apia", datetime(2011, 12, 27, tzinfo=UTC), timedelta(days=5))
@example(CronTrigger(cron="0 0 * * *"), "Africa/Cairo", datetime(2026, 4, 22, tzinfo=UTC), timedelta(days=4))
def test_instants_in_bulk_are_those_asked_for_one_by_one(trigger, zone, since, width):
    schedule = build_schedule(trigger, timezone=zone, hash_key="", anchor=since)
    expected, after = [], since
    while (following := schedule.next_after(after)) is not None and following.fires_at <= since + width:
        after = following.fires_at
        if following.skipped is not None:
            break
        expected.append(to_us(after))

    assert expected == instants_of(trigger, schedule, "").between(to_us(since), to_us(since + width))[0]


def outcome(found: Simulation) -> tuple[Any, ...]:
    return list(found.firings()), list(found.runs()), found.tally.verdicts, found.tally.runs, found.tally.load


@settings(max_examples=40, deadline=None)
@given(
    triggers=st.lists(st.tuples(CRONS, ZONES), min_size=1, max_size=2, unique=True),
    needs=st.sampled_from([None, {"job": "a"}, {"job": "a", "delay": "25m"}, {"job": "a", "when": "failed"}]),
    run_minutes=st.integers(0, 90),
    outage=st.none() | st.tuples(st.integers(1, 2000), st.integers(1, 2000)),
    limit=st.sampled_from(
        [{}, {"concurrency": {"key": "k"}}, {"rate": "1/3h"}, {"unique": {"key": "k", "within": "2h"}}]
    ),
)
@example([("0 * * * *", "UTC"), ("0 * * * 0", "UTC")], None, 0, None, {})
def test_what_is_taken_in_one_go_is_what_each_firing_comes_to(triggers, needs, run_minutes, outage, limit):
    jobs = {
        "a": {"triggers": [{"cron": cron, "timezone": zone} for cron, zone in triggers]},
        "b": {} if needs is None else {"needs": [needs]},
    }
    specs = {
        n: JobSpec.model_validate({"run": {"command": ["x"]}, "timeout": "2h", **limit, **job})
        for n, job in jobs.items()
    }
    outages = ()
    if outage is not None:
        begin = T0 + timedelta(minutes=outage[0])
        outages = ((begin, begin + timedelta(minutes=outage[1])),)
    assumed = {"until": T0 + timedelta(days=4), "outages": outages, "run_time": timedelta(minutes=run_minutes)}

    in_one_go = simulate(specs, "default", Assumptions(T0, **assumed))
    one_by_one = simulate(specs, "default", Assumptions(T0, **assumed, failing={"a": 0, "b": 0}))

    assert outcome(one_by_one) == outcome(in_one_go)
