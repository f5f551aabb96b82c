"""``scheduler next``: the times of expressions and triggers, as people and programs read them."""

import json
from collections.abc import Callable

Cli = Callable[..., tuple[int, str, str]]


def test_next_prints_utc_as_json(cli: Cli) -> None:
    code, out, _ = cli(
        "next", "0 2 * * *", "--timezone", "Asia/Tokyo", "--from", "2026-03-01T00:00:00Z", "--count", "2", "--json"
    )

    assert (code, json.loads(out)) == (0, {"fires": ["2026-03-01T17:00:00Z", "2026-03-02T17:00:00Z"]})


def test_json_names_what_a_change_of_the_clock_does(cli: Cli) -> None:
    _, out, _ = cli("next", "30 2 * * *", "--timezone", "America/New_York", "--from", "2026-03-08", "-n", "2", "--json")

    found = json.loads(out)
    assert list(found["notes"]) == found["fires"][:1] == ["2026-03-08T07:00:00Z"]


def test_next_of_a_whole_trigger_and_from_a_wall_time(cli: Cli) -> None:
    trigger = '{"every": "1 month", "anchor": "2026-01-31T10:00:00Z"}'
    _, out, _ = cli("next", "--trigger", trigger, "--from", "2026-02-01 00:00", "-n", "2", "--json")

    assert json.loads(out)["fires"][0] == "2026-02-28T10:00:00Z"


def test_next_with_seconds_and_both_days(cli: Cli) -> None:
    _, out, _ = cli(
        *("next", "30 0 0 13 * FRI", "--seconds", "--day-match", "all"),
        *("--from", "2026-01-01T00:00:00Z", "-n", "1", "--json"),
    )

    assert json.loads(out) == {"fires": ["2026-02-13T00:00:30Z"]}


def test_next_shows_wall_time_zone_instant_and_what_the_clock_does(cli: Cli) -> None:
    new_york = ("--timezone", "America/New_York", "-n", "2", "--from")

    _, out, _ = cli("next", "30 1 * * *", *new_york, "2026-11-01", "--fold", "both")
    assert out == (
        "2026-11-01 01:30:00 America/New_York  2026-11-01T05:30:00Z  the first of two 01:30\n"
        "2026-11-01 01:30:00 America/New_York  2026-11-01T06:30:00Z  the second of two 01:30\n"
    )
    _, out, _ = cli("next", "30 2 * * *", *new_york, "2026-03-08")
    assert out == (
        "2026-03-08 02:30:00 America/New_York  2026-03-08T07:00:00Z"
        "  the clock skips 02:30; it runs right after the gap\n"
        "2026-03-09 02:30:00 America/New_York  2026-03-09T06:30:00Z\n"
    )


def test_next_shows_only_what_fires(cli: Cli) -> None:
    since = ("--from", "2026-03-08", "--timezone", "America/New_York", "-n", "1", "--json")
    trigger = '{"cron": "30 2 * * *", "dst": {"gap": "skip"}}'

    for words in (["30 2 * * *", "--gap", "skip"], ["--trigger", trigger]):
        assert json.loads(cli("next", *words, *since)[1]) == {"fires": ["2026-03-09T06:30:00Z"]}


def test_next_of_a_calendar_trigger_of_a_country(cli: Cli) -> None:
    trigger = '{"calendar": {"business_day": 1, "country": "JP", "at": "18:00"}}'
    _, out, _ = cli(
        "next", "--trigger", trigger, "--timezone", "Asia/Tokyo", "--from", "2027-01-01", "-n", "1", "--json"
    )

    assert json.loads(out) == {"fires": ["2027-01-04T09:00:00Z"]}


def test_next_warns_of_two_day_fields_nobody_spoke_of(cli: Cli) -> None:
    _, out, err = cli("next", "30 3 1-7 * 1", "--from", "2026-11-01T12:00:00Z", "-n", "1", "--json")

    assert json.loads(out) == {"fires": ["2026-11-02T03:30:00Z"]}
    assert "it fires on Sun 2026-11-01, Mon 2026-11-02, Tue 2026-11-03, Wed 2026-11-04, Thu 2026-11-05;" in err
    assert cli("next", "30 3 1-7 * 1", "--day-match", "any")[2] == ""


def test_next_takes_a_trigger_as_it_stands_in_a_file_and_a_day_alone(cli: Cli) -> None:
    trigger = '{calendar: {month_end: business, at: "18:00", country: US}}'
    code, out, _ = cli("next", "--trigger", trigger, "--from", "2026-06-01", "--count", "2", "--json")

    assert code == 0
    assert json.loads(out) == {"fires": ["2026-06-30T18:00:00Z", "2026-07-31T18:00:00Z"]}
    assert cli("next", "--trigger", "{every: [15m")[::2] == (
        2,
        "error: --trigger: not YAML: did not find expected ',' or ']' (see scheduler next --help)\n",
    )
    assert cli("next", "--trigger", "soon")[2].startswith("error: --trigger must be a mapping")


def test_next_stops_where_max_fires_is_used_up(cli: Cli) -> None:
    trigger = '{"cron": "0 0 * * *", "max_fires": 2}'
    _, out, _ = cli("next", "--trigger", trigger, "--from", "2026-03-01")

    assert out.splitlines()[2:] == ["it fires no more: max_fires is 2"]
    assert out.count("00:00:00 UTC") == 2


def test_next_says_in_one_line_what_is_left_out(cli: Cli) -> None:
    new_york = ("--timezone", "America/New_York", "-n", "1", "--from", "2026-03-08")
    _, out, _ = cli("next", "30 2 * * *", "--gap", "skip", *new_york)

    assert out.splitlines()[1:] == ["left out: 2026-03-08 02:30:00, which the clock skips (gap: skip)"]


def test_next_says_why_it_stops(cli: Cli) -> None:
    _, out, _ = cli("next", "--trigger", "{calendar: {month_end: business, country: BR}}", "--from", "2200-01-01")
    assert out.startswith("it fires no more: the data of calendar BR end on ")
    _, out, _ = cli("next", "--trigger", '{at: "2026-01-01 12:00"}', "--from", "2026-02-01")
    assert out == "it fires no more\n"
    trigger = '{every: 1d, anchor: "2026-01-01T00:00:00Z", ends_at: "2026-02-01 00:00"}'
    _, out, _ = cli("next", "--trigger", trigger, "--from", "2026-02-01")
    assert out == "it fires no more: ends_at is 2026-02-01 00:00:00\n"
