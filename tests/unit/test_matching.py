"""Which triggers an event fires, and with which params."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest
from pydantic import TypeAdapter

from scheduler.domain.event_words import say_wait
from scheduler.domain.gates import JobEntry
from scheduler.domain.matching import MAX_DEPTH, Event, EventTriggers, Matched, Waiting
from scheduler.domain.watching import Watching, name_matches
from schemas.job_spec import JobSpec
from schemas.trigger_spec import EventTriggerSpec
from schemas.vocabulary import EventSource, Verdict

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
SPEC: TypeAdapter[EventTriggerSpec] = TypeAdapter(EventTriggerSpec)
ONE, TWO = UUID(int=1), UUID(int=2)


def entry(name: str = "job", **spec: Any) -> JobEntry:
    made = JobSpec.model_validate({"run": {"command": ["true"]}, **spec})
    return JobEntry(uuid4(), name, 1, enabled=True, paused=False, spec=made)


def waiting(words: dict[str, Any], trigger_id: UUID = ONE, **spec: Any) -> Waiting:
    job = entry(**spec)
    return Waiting(trigger_id, job.id, 1, "t", SPEC.validate_python(words), job)


def event(topic: str = "a", data: Any = None, source: EventSource = EventSource.AMQP, **fields: Any) -> Event:
    return Event(id=uuid4(), source=source, topic=topic, data=data or {}, received_at=NOW, **fields)


def match(words: dict[str, Any], what: Event, **spec: Any) -> Matched:
    return EventTriggers([waiting(words, **spec)]).match(what)


@pytest.mark.parametrize(
    ("where", "fires"),
    [
        ("event.data.n > `1`", True),
        ("event.data.n > `2`", False),
        ("event.data.list", False),
        ("event.data.none", False),
        ("event.data.zero", True),
        ("params.floor < event.data.n", True),
        ("params.given == `2`", True),
        ("event.topic == 'a' && event.source == 'amqp'", True),
    ],
)
def test_where_is_true_of_what_is_not_null_false_or_empty(where: str, *, fires: bool) -> None:
    words = {"event": {"topic": "a"}, "where": where, "params": {"given": "{{ event.data.n }}"}}

    found = match(words, event(data={"n": 2, "list": [], "zero": 0}), params={"floor": 1})

    assert bool(found.matches) is fires
    assert bool(found.notes) is not fires


def test_what_cannot_be_asked_is_noted() -> None:
    found = match({"event": {"topic": "a"}, "where": "length(event.data.n)"}, event(data={"n": 2}))

    assert found.notes[0].startswith("trigger t of job job: where cannot be asked of it: ")


@pytest.mark.parametrize(
    ("border", "why"),
    [
        ({"starts_at": "2026-03-01T12:00:01Z"}, "starts_at is 2026-03-01T12:00:01Z"),
        ({"ends_at": "2026-03-01T11:59:59Z"}, "ends_at was 2026-03-01T11:59:59Z"),
        ({"starts_at": "2026-03-01 21:00", "timezone": "Asia/Tokyo"}, None),
        ({"ends_at": "2026-03-01T12:00:00Z"}, None),
    ],
)
def test_it_fires_between_its_borders(border: dict[str, Any], why: str | None) -> None:
    found = match({"event": {"topic": "a"}, **border}, event())

    assert found.notes == ([] if why is None else [f"trigger t of job job: {why}"])


def test_topics_belong_to_the_sources_that_may_choose_them() -> None:
    triggers = EventTriggers([waiting({"event": {"topic": "#"}}), waiting({"webhook": "hook"}, TWO)])

    def fired(what: Event) -> list[UUID]:
        return [one.trigger.id for one in triggers.match(what).matches]

    assert [ONE] == fired(event("webhook.hook"))
    assert [TWO] == fired(event("webhook.hook", source=EventSource.WEBHOOK))
    end = {"job": "x", "job_id": str(uuid4()), "state": "failed"}
    assert [] == fired(event("run.failed.x", end, EventSource.RUN))


def test_params_that_cannot_be_filled_make_it_invalid() -> None:
    (found,) = match({"event": {"topic": "a"}, "params": {"x": "{{ event.data.y }}"}}, event()).matches

    assert found.verdict is Verdict.INVALID
    assert (found.problem or "").startswith("the trigger's params cannot be filled: ")


def test_an_end_fires_other_jobs_of_its_state() -> None:
    trigger = waiting({"ended": {"job": "back*", "state": "failed"}})
    triggers = EventTriggers([trigger])

    def fired(**data: str) -> bool:
        told = {"job": "backup", "job_id": str(uuid4()), "state": "failed", **data}
        return bool(triggers.match(event("x", told, EventSource.RUN)).matches)

    assert fired()
    assert not fired(state="succeeded")
    assert not fired(job="restore")
    assert not fired(job_id=str(trigger.job_id)), "its own"


def test_a_chain_that_is_too_long_is_a_loop() -> None:
    words = {"event": {"topic": "a"}}

    (last,) = match(words, event(depth=MAX_DEPTH)).matches
    (beyond,) = match(words, event(depth=MAX_DEPTH + 1)).matches

    assert last.problem is None
    assert beyond.verdict is Verdict.LOOP


def test_a_whole_tells_all_parts_that_have_happened() -> None:
    parts = [{"event": {"topic": "a"}}, {"event": {"topic": "#"}}, {"event": {"topic": "b"}}]

    (found,) = match({"all_of": parts, "params": {"x": "{{ event.data.events[0] }}"}}, event()).matches
    (once,) = match({"any_of": parts}, event()).matches

    assert (found.parts, found.problem) == ((0, 1), None), "the params are those of the whole"
    assert once.parts == (0,)


def test_a_name_pattern_stands_for_any_characters() -> None:
    assert name_matches("a-*-z", "a-b-z")
    assert not name_matches("a-*-z", "a-z")
    assert name_matches("*", "x")
    assert not name_matches("a", "ab")


def test_only_ends_that_another_job_waits_for_are_wanted() -> None:
    def alert(name: str, job: str, state: str = "failed", **keys: Any) -> JobEntry:
        return entry(name, triggers=[{"ended": {"job": job, "state": state}, **keys}])

    work, other = entry("work"), entry("other")
    one, two = alert("one", "one"), alert("two", "w*")
    watching = Watching([work, other, one, two, alert("off", "other", enabled=False)])

    assert watching.jobs == {work.id}
    assert watching.wants(work.id, "failed")
    assert not watching.wants(work.id, "succeeded")
    every = Watching([work, alert("all", "*", "finished")])
    assert every.jobs == {work.id}, "it is not told of its own end"
    nested = entry("nested", triggers=[{"any_of": [{"ended": {"job": "work", "state": "skipped"}}, {"webhook": "x"}]}])
    assert Watching([work, nested]).wants(work.id, "skipped")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"ended": {"job": "*", "state": "finished"}}, "runs of other jobs that end"),
        ({"ended": {"job": "a", "state": "failed"}, "throttle": "1/m", "by": "{{ event.id }}"},
         "runs of job a that end as failed, at most 1/m, each {{ event.id }} for itself"),
        ({"system": {"on": "run_long", "after": "1h"}}, "runs of other jobs that go on for more than 1h"),
        ({"missing": {"event": "a.#", "by": "09:00"}},
         "the absence of events with topic a.#, looked for each day at 09:00"),
        ({"all_of": [{"event": {"topic": "a"}, "where": "event.data.x"}, {"webhook": "b"}]},
         "all of (events with topic a, where event.data.x; requests to webhook b) within 1d"),
        ({"event": {"topic": "a"}, "collect": {"max": 9, "within": "5s"}},
         "events with topic a, one run for up to 9 that come within 5s"),
    ],
)  # fmt: skip
def test_it_is_said_what_a_trigger_waits_for(words: dict[str, Any], said: str) -> None:
    assert say_wait(SPEC.validate_python(words)) == said
