"""Calendars from the command line: applied, listed, shown, exported, asked for the next firings."""

import json
from collections.abc import Iterator

import pytest

from tests.support.cli import Cli, end, status, until
from tests.support.services import free_port

pytestmark = pytest.mark.timeout(240)

JOBS = """
version: 1
source: test
calendars:
  tokyo: {country: JP, closed: [2027-12-30], open: [2027-11-23]}
  desk: {union: [tokyo, US-CA]}
  lanka: {country: LK, valid_until: 2026-01-31}
jobs:
  close:
    run: {command: ["true"]}
    timezone: Asia/Tokyo
    triggers: [{id: last, calendar: {business_day: -1, at: "18:00", calendar: desk}}]
  pay:
    run: {command: ["true"]}
    triggers: [{id: rent, calendar: {month_end: day, at: "09:00", country: DE-BY, roll: modified_following}}]
"""


@pytest.fixture(scope="module")
def cli(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cli]:
    cli = Cli(tmp_path_factory.mktemp("calendars"))
    (cli.folder / "jobs.yaml").write_text(JOBS)
    port = free_port()
    process = cli.begin("up", "jobs.yaml", "--port", str(port))
    until(lambda: status(port, "/readyz") == 200, "ready")
    yield cli
    end(process)


@pytest.mark.slow
def test_calendars_are_listed_with_who_uses_them(cli: Cli) -> None:
    found = {row["name"]: row for row in cli.json("calendars")["calendars"]}

    assert ["DE-BY", "desk", "lanka", "tokyo"] == list(found)
    assert (["close"], ["pay"], []) == tuple(found[name]["used_by"] for name in ("desk", "DE-BY", "tokyo"))
    assert (1, "test", ["sat", "sun"]) == tuple(found["desk"][key] for key in ("version", "source", "weekend"))
    assert found["tokyo"]["holidays_from"].startswith("holidays 0.")
    assert ("1970-01-01", "2099-12-31") == (found["tokyo"]["first_day"], found["tokyo"]["last_day"])
    assert "DE-BY" in cli("calendars")


@pytest.mark.slow
def test_closed_days_of_a_year_are_shown_with_their_names(cli: Cli) -> None:
    shown = cli.json("calendar", "show", "tokyo", "--year", "2027")

    named = {row["date"]: row["name"] for row in shown["closed"]}
    assert "New Year's Day" == named["2027-01-01"]
    assert "closed by definition" == named["2027-12-30"]
    assert "2027-11-23" not in named
    assert ["2027-11-23"] == shown["open"]
    assert "Emperor's Birthday" in cli("calendar", "show", "tokyo", "--year", "2027")
    assert "not for 2101-01-01" in cli("calendar", "show", "tokyo", "--year", "2101", code=3)
    assert "there is no calendar tokio" in cli("calendar", "show", "tokio", code=3)


@pytest.mark.slow
def test_next_knows_calendars_by_name_by_country_and_by_job(cli: Cli) -> None:
    """30 December 2027 is closed in Tokyo by definition, the 31st in California: observed New Year's Day."""
    named = json.dumps({"calendar": {"business_day": -1, "at": "18:00", "calendar": "desk"}})
    since = ("--from", "2027-12-01T00:00:00Z", "--count", "1")

    fires = cli.json("next", "--trigger", named, "--timezone", "Asia/Tokyo", *since)["fires"]

    assert ["2027-12-29T09:00:00Z"] == fires
    assert fires == cli.json("next", "--job", "close", *since)["fires"]
    country = json.dumps({"calendar": {"business_day": -1, "at": "18:00", "country": "US"}})
    assert ["2027-12-30T18:00:00Z"] == cli.json("next", "--trigger", country, *since)["fires"]
    unknown = json.dumps({"calendar": {"business_day": -1, "country": "XX"}})
    assert "no country" in cli("next", "--trigger", unknown, code=2)


@pytest.mark.slow
def test_apply_says_which_firings_a_changed_calendar_moves_and_export_keeps_it(cli: Cli) -> None:
    exported = cli("export")
    (cli.folder / "again.yaml").write_text(exported)
    assert [] == cli.json("apply", "again.yaml")["calendars"]
    before = cli.json("next", "--job", "close", "--count", "1")["fires"]

    day = before[0][:10]
    (cli.folder / "moved.yaml").write_text(JOBS.replace("closed: [2027-12-30]", f"closed: [2027-12-30, {day}]"))
    changes = {change["name"]: change for change in cli.json("apply", "moved.yaml")["calendars"]}

    assert ["desk", "tokyo"] == sorted(changes)
    (moves,) = changes["desk"]["moves"]
    assert ("close", "last", before) == (moves["job"], moves["trigger"], moves["removed"])
    assert moves["added"] == cli.json("next", "--job", "close", "--count", "1")["fires"]


@pytest.mark.slow
def test_health_warns_of_data_that_have_ended_and_stays_healthy(cli: Cli) -> None:
    health = cli.json("health")

    assert health["healthy"]
    assert "calendar lanka: its data end on 2026-01-31" in health["warnings"]
