"""The calendars of a definitions file: what is read, what is refused and where, what is warned of."""

from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from scheduler.definitions.export import export
from scheduler.definitions.load import load
from scheduler.errors import DefinitionsError

NOW = datetime(2026, 11, 21, tzinfo=UTC)
JOB = "jobs: {a: {run: {handler: x}, triggers: [%s]}}\n"
AT = "jobs.a.triggers[0].calendar"
CODES = "allowed are ISO 3166 codes such as JP, US-CA or DE-BY"
VALID = """\
calendars:
  tokyo: {country: JP, weekend: [sat, sun], closed: [2026-12-31], open: []}
  coast: {country: US, subdivision: CA}
  joint: {union: [tokyo, coast, DE-BY]}
jobs:
  a:
    run: {handler: x}
    triggers:
      - calendar: {business_day: -1, at: "18:00", calendar: joint}
      - calendar: {date: 12-25, country: DE, roll: modified_following, offset_days: -1}
      - {calendar: {quarter_end: business, at: 07:30:15, calendar: tokyo}, timezone: Asia/Tokyo, max_fires: 3}
"""
REFUSED = [
    ("calendars: {a: {contry: JP}}\n", ['1:17: calendars.a.contry: unknown key; did you mean "country"?']),
    ("calendars: {a: {country: XX}}\n",
     [f"1:26: calendars.a.country: 'XX' is no country with known holidays; {CODES}"]),
    ("calendars: {a: {country: UK}}\n",
     ["1:26: calendars.a.country: 'UK' is no country with known holidays; did you mean GB?"]),
    ("calendars: {a: {country: jp}}\n",
     [('1:26: calendars.a.country: must be an ISO 3166 code in capital letters, such as JP, US-CA or DE-BY, '
      'found "jp"; did you mean JP?')]),
    ("calendars: {a: {country: Germany}}\n",
     [('1:26: calendars.a.country: must be an ISO 3166 code in capital letters, such as JP, US-CA or DE-BY, '
      'found "Germany"; did you mean DE?')]),
    ("calendars: {a: {country: JPP}}\n",
     [('1:26: calendars.a.country: must be an ISO 3166 code in capital letters, such as JP, US-CA or DE-BY, '
      'found "JPP"; did you mean JP?')]),
    ("calendars: {a: {country: GER}}\n",
     [('1:26: calendars.a.country: must be an ISO 3166 code in capital letters, such as JP, US-CA or DE-BY, '
      'found "GER"; did you mean DE?')]),
    ("calendars: {a: {country: DE-BAY}}\n",
     ["1:26: calendars.a.country: DE has no subdivision 'BAY'; did you mean BY?"]),
    ("calendars: {b: {}, a: {union: [b, JPP]}}\n",
     [('1:35: calendars.a.union[1]: must be the name of a calendar, or a country such as JP or US-CA, '
      'found "JPP"; did you mean JP?')]),
    ("calendars: {b: {}, a: {union: [b, japan]}}\n",
     ["1:35: calendars.a.union[1]: there is no calendar japan; did you mean the country JP?"]),
    (JOB % "{calendar: {business_day: 1, country: JPP}}",
     [(f"1:80: {AT}.country: must be an ISO 3166 code in capital letters, such as JP, US-CA or DE-BY, "
      'found "JPP"; did you mean JP?')]),
    ("calendars: {a: {country: DD}}\n",
     ["1:26: calendars.a.country: 'DD' is no country with known holidays; did you mean DE?"]),
    ("calendars: {a: {closed: [2026-02-30]}}\n",
     ["1:26: calendars.a.closed[0]: '2026-02-30' does not exist: day is out of range for month"]),
    ("calendars: {a: {closed: [2026-01-01], open: [2026-01-01]}}\n",
     ["1:16: calendars.a: given in both closed and open: 2026-01-01"]),
    ("calendars: {a: {country: JP, open: [2101-01-01]}}\n",
     ["1:37: calendars.a.open[0]: 2101-01-01 lies outside of the data of JP, which go from 1970-01-01 to 2099-12-31"]),
    ("calendars: {a: {weekend: [mon, tue, wed, thu, fri, sat, sun]}}\n",
     ["1:13: calendars.a: every day is closed, so nothing would ever fire"]),
    ("calendars: {tokyo: {}, a: {union: [tokio, tokyo]}}\n",
     ['1:36: calendars.a.union[0]: there is no calendar tokio; did you mean "tokyo"?']),
    ("calendars: {a: {union: [b, JP]}, b: {union: [a, JP]}}\n",
     ["1:25: calendars.a.union[0]: b: a union that contains itself: a → b → a",
      "1:46: calendars.b.union[0]: a: a union that contains itself: b → a → b"]),
    ("calendars: {a: {union: [JP, US], closed: []}}\n",
     ["1:16: calendars.a: union has no other keys beside it but valid_until, found closed"]),
    ("calendars: {tokyo: {}}\n" + JOB % "{calendar: {business_day: 1, calendar: tokio}}",
     [f'2:81: {AT}.calendar: there is no calendar tokio; did you mean "tokyo"?']),
    (JOB % "{calendar: {business_day: 24}}",
     [(f"1:68: {AT}.business_day: must be every, 1 to 23 counted from the month's first day, "
     "or -1 to -23 from its last")]),
    (JOB % "{calendar: {date: 02-30}}",
     [f"1:60: {AT}.date: '02-30' does not exist; write month and day, for instance 12-25"]),
    (JOB % "{calendar: {month_end: day, at: 24:00}}",
     [f'1:74: {AT}.at: must be a wall time from "00:00" to "23:59", or with seconds, "18:00:30"']),
    (JOB % "{calendar: {month_end: day, roll: back}}",
     [(f'1:76: {AT}.roll: "back" is not known; '
     "allowed: none, following, preceding, modified_following")]),
    (JOB % "{calendar: {month_end: day, ofset_days: 1}}",
     [f'1:70: {AT}.ofset_days: unknown key; did you mean "offset_days"?']),
    (JOB % "{calendar: {at: 18:00}}",
     [(f"1:53: {AT}: must have exactly one of business_day, month_end, quarter_end, date, "
     "found none of them")]),
    (JOB % "{calendar: {business_day: 1}, at: 18:00}",
     [('1:42: jobs.a.triggers[0]: the time of a calendar trigger stands inside it: '
     '{calendar: {business_day: 1, at: "18:00"}}')]),
    (JOB % "{calendar: {date: 12-25, country: DE}}",
     [(f"1:53: {AT}: the trigger never fires on an open day of its calendar; "
     "roll can move it to one")]),
]  # fmt: skip


@pytest.fixture
def write(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def written(text):
        Path("f.yaml").write_text(text, encoding="utf-8")
        return [Path("f.yaml")]

    return written


def test_calendars_are_read_and_exported_to_the_same(write):
    definitions = load(write(VALID))

    assert ["DE", "coast", "joint", "tokyo"] == sorted(definitions.resolved_calendars)
    assert not definitions.resolved_calendars["tokyo"].is_open(date(2026, 12, 31))
    again = load(write(export(definitions)))
    assert again.calendars == definitions.calendars
    assert again.jobs == definitions.jobs


@pytest.mark.parametrize(("text", "lines"), REFUSED)
def test_a_wrong_calendar_gets_exactly_these_lines(write, text, lines):
    files = write(text)

    with pytest.raises(DefinitionsError) as caught:
        load(files)

    assert caught.value.problems == [f"f.yaml:{line}" for line in lines]


def test_a_calendar_given_in_two_files_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a.yaml", "b.yaml"):
        Path(name).write_text("calendars:\n  tokyo: {country: JP}\n", encoding="utf-8")

    with pytest.raises(DefinitionsError) as caught:
        load([Path("a.yaml"), Path("b.yaml")])

    assert caught.value.problems == ["b.yaml:2:3: calendars.tokyo: the calendar is given twice, first in a.yaml:2"]


@pytest.mark.parametrize(
    ("text", "warning"),
    [
        ("calendars: {a: {closed: [2026-12-24]}}\n", "1:13: calendars.a: its data end on 2026-12-31: later days"),
        ("calendars: {a: {valid_until: 2027-01-20}}\n", "1:13: calendars.a: its data end on 2027-01-20: nothing"),
        ("calendars: {a: {country: JP, valid_until: 2026-11-01}}\n", "1:13: calendars.a: its data ended on 2026-11-01"),
        (JOB % "{calendar: {business_day: 1}}", f"1:53: {AT}: names no calendar and no country"),
    ],
)
def test_a_calendar_that_runs_out_and_none_at_all_are_warned_of(write, text, warning):
    definitions = load(write(text), now=NOW)

    assert [True] == [str(said).startswith(f"f.yaml:{warning}") for said in definitions.warnings]


def test_a_calendar_that_goes_on_is_not_warned_of(write):
    text = "calendars: {a: {country: JP}, b: {valid_until: 2027-01-21}, c: {closed: [2027-12-24]}}\n"

    assert () == load(write(text), now=NOW).warnings
