"""Calendars on a real database: what is planned by them, what a change moves, what may be removed."""

import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from scheduler.definitions.load import load
from scheduler.definitions.model import Definitions
from scheduler.domain import calendar_countries
from scheduler.errors import DefinitionsError, NotFoundError
from scheduler.store.calendars import get_calendar, list_calendars, list_ending
from scheduler.store.definitions import ApplyResult, apply
from tests.support.ticking import Stage

START = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
LEDGER = "SELECT wall_time, verdict, calendar_version FROM firings ORDER BY fires_at"


@pytest.fixture
def write(tmp_path: Path) -> Any:
    def definitions(calendars: str, source: str = "here", **triggers: str) -> Definitions:
        jobs = {name: {"run": {"command": ["true"]}, "triggers": [json.loads(text)]} for name, text in triggers.items()}
        file = tmp_path / "jobs.yaml"
        file.write_text(f"version: 1\nsource: {source}\ncalendars: {{{calendars}}}\njobs: {json.dumps(jobs)}\n")
        return load([file])

    return definitions


def rule(**keys: Any) -> str:
    return json.dumps({"calendar": keys})


async def put(stage: Stage, definitions: Definitions, *, prune: bool = False) -> ApplyResult:
    return await apply(stage.stores.main, definitions, prune=prune, clock=stage.clock)


@pytest.fixture
async def tick_to(stage: Stage) -> Any:
    ticker = await stage.ticker()

    async def ticked(at: datetime) -> None:
        stage.clock.jump(at)
        await ticker.tick(stage.stores.main)

    return ticked


async def test_trigger_fires_rolls_and_skips_by_its_calendar(stage: Stage, write: Any, tick_to: Any) -> None:
    """Friday 13 March 2026 is closed: every fires on Thursday and Monday, 13 rolls to Monday, the other is skipped."""
    await put(
        stage,
        write(
            "tokyo: {country: JP, closed: [2026-03-13]}",
            every=rule(business_day="every", at="09:00", calendar="tokyo"),
            rolled=rule(date="03-13", at="10:00", calendar="tokyo", roll="following"),
            skipped=rule(date="03-13", at="11:00", calendar="tokyo"),
        ),
    )
    for day in range(12, 17):
        for hour in (9, 10, 11):
            await tick_to(datetime(2026, 3, day, hour, tzinfo=UTC))

    rows = [tuple(row) for row in await stage.db.fetch(LEDGER) if row["wall_time"] >= "2026-03-12T09"]
    assert [
        ("2026-03-12T09:00:00", None, 1),
        ("2026-03-13T11:00:00", "skipped_calendar", 1),
        ("2026-03-16T09:00:00", None, 1),
        ("2026-03-16T10:00:00", None, 1),
    ] == rows
    why = await stage.db.fetchval("SELECT reason FROM firings WHERE verdict = 'skipped_calendar'")
    assert why == "calendar tokyo is closed on this day (closed by definition); roll is none"
    owed = "SELECT count(*) FROM firings WHERE verdict = 'skipped_calendar' AND sweep_at IS NULL AND count = 1"
    assert 1 == await stage.db.fetchval(owed)


async def test_country_of_a_trigger_is_a_calendar_of_its_own(stage: Stage, write: Any) -> None:
    result = await put(stage, write("", job=rule(business_day=1, at="08:00", country="DE-BY")))

    assert ["DE-BY"] == [change.name for change in result.calendars]
    stored = await get_calendar(stage.stores.main, "default", "DE-BY")
    assert ("job",) == stored.used_by
    assert f"holidays {_library()}" == stored.calendar.source
    assert stored.calendar.why_closed(date(2026, 6, 4)) == "Corpus Christi"
    await put(stage, write("", job=rule(business_day=1, at="08:00")))
    assert {} == await list_calendars(stage.stores.main, "default")


def _library() -> str:
    return calendar_countries.country_days("DE").source.removeprefix("holidays ")


async def test_change_of_a_calendar_moves_what_is_planned_and_says_so(stage: Stage, write: Any, tick_to: Any) -> None:
    trigger = rule(business_day=2, at="18:00", calendar="own")
    before = await put(stage, write("own: {closed: []}", job=trigger))
    revision = await stage.db.fetchval("SELECT revision FROM tenants")
    assert [("own", 1, [])] == [(change.name, change.version, change.moves) for change in before.calendars]

    after = await put(stage, write("own: {closed: [2026-04-01]}", job=trigger))

    assert datetime(2026, 3, 3, 18, tzinfo=UTC) == await stage.db.fetchval("SELECT next_at FROM triggers")
    (change,) = after.calendars
    (moves,) = change.moves
    assert (2, "job") == (change.version, moves.job)
    assert [datetime(2026, 4, 2, 18, tzinfo=UTC)] == list(moves.removed)
    assert [datetime(2026, 4, 3, 18, tzinfo=UTC)] == list(moves.added)
    assert ["job"] == after.unchanged
    assert revision + 1 == await stage.db.fetchval("SELECT revision FROM tenants")
    await tick_to(datetime(2026, 3, 3, 18, tzinfo=UTC))
    await tick_to(datetime(2026, 4, 3, 18, tzinfo=UTC))
    assert [("2026-03-03T18:00:00", None, 2), ("2026-04-03T18:00:00", None, 2)] == [
        tuple(row) for row in await stage.db.fetch(LEDGER)
    ]


async def test_firings_keep_the_version_they_were_planned_by(stage: Stage, write: Any, tick_to: Any) -> None:
    """The Ticker that has planned by the old version plans by the new one, and what is past stays."""
    trigger = rule(business_day="every", at="18:00", calendar="own")
    await put(stage, write("own: {}", job=trigger))
    await tick_to(datetime(2026, 3, 2, 18, tzinfo=UTC))
    await put(stage, write("own: {closed: [2026-03-02, 2026-03-03]}", job=trigger))
    await tick_to(datetime(2026, 3, 3, 18, tzinfo=UTC))
    await tick_to(datetime(2026, 3, 4, 18, tzinfo=UTC))

    assert [("2026-03-02T18:00:00", None, 1), ("2026-03-04T18:00:00", None, 2)] == [
        tuple(row) for row in await stage.db.fetch(LEDGER)
    ]


async def test_firing_written_down_ahead_is_taken_back_by_a_new_calendar(
    stage: Stage, write: Any, tick_to: Any
) -> None:
    trigger = rule(business_day="every", at="18:00", calendar="own")
    await put(stage, write("own: {}", job=trigger))
    await tick_to(datetime(2026, 3, 2, 17, 59, 59, 970_000, tzinfo=UTC))
    assert 1 == len(await stage.db.fetch(LEDGER))

    await put(stage, write("own: {closed: [2026-03-02]}", job=trigger))
    await tick_to(datetime(2026, 3, 3, 18, tzinfo=UTC))

    assert [("2026-03-03T18:00:00", None, 2)] == [tuple(row) for row in await stage.db.fetch(LEDGER)]


async def test_what_was_missed_is_caught_up_over_a_change_of_the_calendar(
    stage: Stage, write: Any, tick_to: Any
) -> None:
    """Down over Tuesday's firing, and applied anew on the way up, as `up FILE` does: nothing is lost."""
    trigger = rule(business_day="every", at="18:00", calendar="own")
    await put(stage, write("own: {}", job=trigger))
    await tick_to(datetime(2026, 3, 2, 18, tzinfo=UTC))
    stage.clock.jump(datetime(2026, 3, 4, 6, tzinfo=UTC))

    await put(stage, write("own: {closed: [2026-12-24]}", job=trigger))
    await tick_to(datetime(2026, 3, 4, 6, 1, tzinfo=UTC))

    assert ["2026-03-02T18:00:00", "2026-03-03T18:00:00"] == [row["wall_time"] for row in await stage.db.fetch(LEDGER)]


async def test_day_opened_in_the_past_is_not_made_up_for(stage: Stage, write: Any, tick_to: Any) -> None:
    trigger = rule(business_day="every", at="18:00", calendar="own")
    await put(stage, write("own: {closed: [2026-03-03]}", job=trigger))
    await tick_to(datetime(2026, 3, 2, 18, tzinfo=UTC))
    stage.clock.jump(datetime(2026, 3, 4, 6, tzinfo=UTC))

    await put(stage, write("own: {closed: []}", job=trigger))
    await tick_to(datetime(2026, 3, 4, 6, 1, tzinfo=UTC))

    assert ["2026-03-02T18:00:00"] == [row["wall_time"] for row in await stage.db.fetch(LEDGER)]


async def test_trigger_comes_back_when_a_calendar_gets_more_data(stage: Stage, write: Any, tick_to: Any) -> None:
    trigger = rule(business_day="every", at="18:00", calendar="own")
    await put(stage, write("own: {valid_until: 2026-03-02}", job=trigger))
    await tick_to(datetime(2026, 3, 2, 18, tzinfo=UTC))
    assert await stage.db.fetchval("SELECT next_at IS NULL FROM triggers")
    stage.clock.jump(datetime(2026, 3, 4, 6, tzinfo=UTC))

    await put(stage, write("own: {valid_until: 2027-03-02}", job=trigger))
    await tick_to(datetime(2026, 3, 4, 6, 1, tzinfo=UTC))

    assert ["2026-03-02T18:00:00", "2026-03-03T18:00:00"] == [row["wall_time"] for row in await stage.db.fetch(LEDGER)]


async def test_applying_the_same_again_changes_nothing(stage: Stage, write: Any) -> None:
    definitions = write("own: {country: JP}, both: {union: [own, US]}", job=rule(business_day=1, calendar="both"))
    await put(stage, definitions)
    stood = await stage.db.fetchrow("SELECT * FROM triggers"), await stage.db.fetchval("SELECT revision FROM tenants")

    again = await put(stage, definitions)

    assert [] == again.calendars
    assert stood == (
        await stage.db.fetchrow("SELECT * FROM triggers"),
        await stage.db.fetchval("SELECT revision FROM tenants"),
    )


async def test_other_release_of_the_library_is_another_version(
    stage: Stage, write: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    definitions = write("own: {country: JP}", job=rule(business_day=1, calendar="own"))
    await put(stage, definitions)
    newer = calendar_countries.country_days("JP")._replace(source="holidays 99.0")
    monkeypatch.setattr("scheduler.domain.calendar_sources.country_days", lambda _place: newer)

    after = await put(stage, definitions)

    assert [("own", 2, [])] == [(change.name, change.version, change.moves) for change in after.calendars]
    assert 2 == await stage.db.fetchval("SELECT calendar_version FROM triggers")


async def test_prune_removes_calendars_of_its_source_unless_they_are_used(stage: Stage, write: Any) -> None:
    used = rule(business_day=1, calendar="own")
    await put(stage, write("own: {}, spare: {}", source="there", job=used))
    await put(stage, write("own: {}", source="elsewhere", other=used))
    await put(stage, write("own: {}, spare: {}", source="here"))

    with pytest.raises(DefinitionsError, match=r"calendars\.own: cannot be removed, trigger calendar-.* of job job"):
        await put(stage, write("spare: {}", source="here"), prune=True)
    assert ["own", "spare"] == list(await list_calendars(stage.stores.main, "default"))
    result = await put(stage, write("own: {}", source="here"), prune=True)

    assert ["spare"] == result.removed_calendars
    assert ["own"] == list(await list_calendars(stage.stores.main, "default"))
    with pytest.raises(NotFoundError):
        await get_calendar(stage.stores.main, "default", "spare")


async def test_removed_calendar_comes_back_with_its_next_version(stage: Stage, write: Any) -> None:
    await put(stage, write("own: {}"))
    await put(stage, write(""), prune=True)

    result = await put(stage, write("own: {closed: [2026-12-24]}"))

    assert [("own", 2)] == [(change.name, change.version) for change in result.calendars]


async def test_trigger_that_is_given_another_kind_forgets_its_calendar(stage: Stage, write: Any, tick_to: Any) -> None:
    named = {"id": "t", "calendar": {"business_day": "every", "calendar": "own"}}
    await put(stage, write("own: {}", job=json.dumps(named)))
    await put(stage, write("own: {}", job=json.dumps({"id": "t", "every": "1h"})))

    await tick_to(START + timedelta(hours=1))

    assert [None] == [row["calendar_version"] for row in await stage.db.fetch(LEDGER)]


async def test_trigger_that_cannot_be_read_holds_up_no_change_of_its_calendar(
    stage: Stage, write: Any, tick_to: Any
) -> None:
    trigger = rule(business_day="every", at="18:00", calendar="own")
    await put(stage, write("own: {}", bad=trigger, good=trigger))
    newer = "jsonb_set(spec, '{calendar,roll}', '\"sideways\"')"
    await stage.db.execute(
        f"UPDATE triggers SET spec = {newer} WHERE job_id = (SELECT id FROM jobs WHERE name = 'bad')"
    )

    await put(stage, write("own: {closed: [2026-12-24]}", good=trigger, source="elsewhere"))
    await tick_to(datetime(2026, 3, 2, 18, tzinfo=UTC))

    assert [("2026-03-02T18:00:00", None, 2)] == [tuple(row) for row in await stage.db.fetch(LEDGER)]
    assert ["bad"] == [
        row["name"]
        for row in await stage.db.fetch(
            "SELECT name FROM triggers AS t JOIN jobs AS j ON j.id = job_id WHERE trouble > ''"
        )
    ]


async def test_calendars_that_run_out_are_found_60_days_before(stage: Stage, write: Any) -> None:
    await put(stage, write("soon: {valid_until: 2026-05-01}, later: {valid_until: 2026-05-02}, never: {}"))

    found = await list_ending(stage.stores.main, None, date(2026, 3, 2))

    assert [("default", "soon", date(2026, 5, 1))] == [(row.tenant, row.name, row.last_day) for row in found]


async def test_ticker_says_once_a_day_which_calendars_end(stage: Stage, write: Any, tick_to: Any) -> None:
    await put(stage, write("soon: {valid_until: 2026-05-01}, never: {}"))

    with capture_logs() as lines:
        for hours in (1, 2, 3, 25, 26):
            await tick_to(START + timedelta(hours=hours))

    said = [(line["tenant"], line["calendar"], line["last_day"]) for line in lines if line["event"] == "calendar.ends"]
    assert [("default", "soon", "2026-05-01")] * 2 == said
