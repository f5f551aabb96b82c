"""The ``calendar`` trigger: days counted the way business counts them."""

import datetime as dt
import re
from typing import Annotated, Final, Literal, Self

from pydantic import BeforeValidator, Field, PlainSerializer, WithJsonSchema, model_validator

from schemas.calendar_spec import CountryCode
from schemas.message import Name
from schemas.spec_model import SpecModel, StrictInt
from schemas.trigger_model import TimeTriggerModel
from schemas.vocabulary import Roll, TriggerKind

MOST_BUSINESS_DAYS: Final = 23
"""A month of 31 days has no more, where two days a week are closed."""
_TIME: Final = re.compile(r"([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9])?")
_YEARLY: Final = re.compile(r"[0-9]{2}-[0-9]{2}")
_LEAP_YEAR: Final = 2000


def _business_day_of(value: object) -> object:
    if value == "every":
        return value
    if isinstance(value, int) and not isinstance(value, bool) and 1 <= abs(value) <= MOST_BUSINESS_DAYS:
        return value
    last = MOST_BUSINESS_DAYS
    raise ValueError(f"must be every, 1 to {last} counted from the month's first day, or -1 to -{last} from its last")


def _wall_time_of(value: object) -> dt.time:
    if isinstance(value, dt.time):
        return value
    if not isinstance(value, str) or not _TIME.fullmatch(value):
        raise ValueError('must be a wall time from "00:00" to "23:59", or with seconds, "18:00:30"')
    return dt.time.fromisoformat(value)


def _yearly_of(value: object) -> object:
    if not isinstance(value, str) or not _YEARLY.fullmatch(value):
        raise ValueError('must be month and day, for instance "12-25"')
    try:
        dt.date.fromisoformat(f"{_LEAP_YEAR}-{value}")
    except ValueError:
        raise ValueError(f"{value!r} does not exist; write month and day, for instance 12-25") from None
    return value


WallTime = Annotated[
    dt.time,
    BeforeValidator(_wall_time_of),
    PlainSerializer(lambda at: at.isoformat("seconds" if at.second else "minutes"), return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "pattern": f"^{_TIME.pattern}$", "examples": ["18:00"]}),
]
BusinessDay = Annotated[
    Literal["every"] | int,
    BeforeValidator(_business_day_of),
    WithJsonSchema({"anyOf": [{"const": "every"}, {"type": "integer", "minimum": 1, "maximum": MOST_BUSINESS_DAYS},
                              {"type": "integer", "minimum": -MOST_BUSINESS_DAYS, "maximum": -1}]}),
]  # fmt: skip
Yearly = Annotated[
    str,
    BeforeValidator(_yearly_of),
    WithJsonSchema({"type": "string", "pattern": f"^{_YEARLY.pattern}$", "examples": ["12-25"]}),
]
PeriodEnd = Literal["day", "business"]
_RULES: Final = ("business_day", "month_end", "quarter_end", "date")


class CalendarRule(SpecModel):
    """Which days, in which calendar, and at which wall time."""

    business_day: BusinessDay | None = None
    """every, or the n-th open day of each month; negative counts from its end."""
    month_end: PeriodEnd | None = None
    """The last day of each month, or its last open day."""
    quarter_end: PeriodEnd | None = None
    """The last day, or last open day, of March, June, September and December."""
    date: Yearly | None = None
    """A day of each year; 02-29 comes in leap years only."""
    at: WallTime = dt.time(0)
    """Wall time in the trigger's zone, HH:MM or HH:MM:SS; default: midnight."""
    calendar: Name | None = None
    """A name of calendars."""
    country: CountryCode | None = None
    """Weekends and public holidays of a country, in place of calendar."""
    offset_days: Annotated[StrictInt, Field(ge=-366, le=366)] = 0
    """So many days after the day found, closed ones counted; negative: before it."""
    roll: Roll = Roll.NONE
    """Where the day so found is closed: the open day to use in its place."""

    @model_validator(mode="after")
    def _one_rule(self) -> Self:
        given = [rule for rule in _RULES if getattr(self, rule) is not None]
        if len(given) != 1:
            found = " and ".join(given) or "none of them"
            raise ValueError(f"must have exactly one of {', '.join(_RULES)}, found {found}")
        if self.calendar is not None and self.country is not None:
            raise ValueError("give calendar or country; a calendar of your own can have a country and more")
        return self

    @property
    def calendar_name(self) -> str | None:
        """The calendar it is read in: a name of ``calendars`` or a country's code; None: it names none."""
        return self.calendar or self.country

    @property
    def counts_business_days(self) -> bool:
        return self.business_day is not None or "business" in (self.month_end, self.quarter_end)


class CalendarTrigger(TimeTriggerModel):
    """Fires on business days, at ends of months or quarters, or on a day of each year."""

    kind = TriggerKind.CALENDAR
    timing = ("calendar",)

    calendar: CalendarRule
    """The days: exactly one of business_day, month_end, quarter_end and date, and what goes with it."""
