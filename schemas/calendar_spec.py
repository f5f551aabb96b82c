"""The ``calendars`` key of the definitions file: which days are closed."""

import datetime as dt
import re
from typing import Annotated, Final, Literal, Self

from pydantic import BeforeValidator, Field, PlainSerializer, WithJsonSchema, model_validator

from schemas.spec_model import SpecModel

_DAY: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
WEEKDAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
"""In the order of ``date.weekday()``."""


def _day_of(value: object) -> dt.date:
    if isinstance(value, dt.date) and not isinstance(value, dt.datetime):
        return value
    if not isinstance(value, str) or not _DAY.fullmatch(value):
        raise ValueError("must be a day, for instance 2026-12-31")
    try:
        return dt.date.fromisoformat(value)
    except ValueError as error:
        raise ValueError(f"{value!r} does not exist: {error}") from None


Day = Annotated[
    dt.date,
    BeforeValidator(_day_of),
    PlainSerializer(lambda day: day.isoformat(), return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "pattern": f"^{_DAY.pattern}$", "examples": ["2026-12-31"]}),
]
"""A day by the local calendar."""
Weekday = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
CountryCode = Annotated[str, Field(pattern=r"^[A-Z]{2}(-[A-Za-z0-9]{1,40})?$", examples=["JP", "US-CA", "DE-BY"])]
"""An ISO 3166 code, with the subdivision where holidays differ within the country."""
Subdivision = Annotated[str, Field(pattern=r"^[A-Za-z0-9]{1,40}$")]
Member = Annotated[str, Field(pattern=r"^([a-z0-9][a-z0-9_-]{0,62}|[A-Z]{2}(-[A-Za-z0-9]{1,40})?)$")]


class CalendarSpec(SpecModel):
    """A business calendar: its days are open but for weekends, holidays and closed days."""

    country: CountryCode | None = None
    """Public holidays of this country; default: none."""
    subdivision: Subdivision | None = None
    """State or province, as CA for US; the same as country: US-CA."""
    weekend: Annotated[tuple[Weekday, ...], Field(max_length=7)] | None = None
    """Days of the week that are closed; default: the country's, else sat and sun."""
    closed: Annotated[tuple[Day, ...], Field(max_length=10_000)] = ()
    """Further days that are closed."""
    open: Annotated[tuple[Day, ...], Field(max_length=10_000)] = ()
    """Days that are open, weekend or holiday or not."""
    valid_until: Day | None = None
    """The last day for which the lists are complete; nothing is planned after it."""
    union: Annotated[tuple[Member, ...], Field(min_length=2, max_length=100)] | None = None
    """Names of calendars or countries: closed where any of them is closed. The only key then, but valid_until."""

    @model_validator(mode="after")
    def _keys_fit_together(self) -> Self:
        if self.union is not None:
            given = self.model_fields_set & {"country", "subdivision", "weekend", "closed", "open"}
            if given:
                raise ValueError(f"union has no other keys beside it but valid_until, found {', '.join(sorted(given))}")
        if self.subdivision is not None and (self.country is None or "-" in self.country):
            raise ValueError("subdivision needs a country without one, as in {country: US, subdivision: CA}")
        if both := sorted(set(self.closed) & set(self.open)):
            raise ValueError(f"given in both closed and open: {', '.join(map(str, both[:10]))}")
        if self.weekend is not None and len(set(self.weekend)) < len(self.weekend):
            raise ValueError("weekend names a day twice")
        return self

    @property
    def place(self) -> str | None:
        """Country and subdivision as one code."""
        return f"{self.country}-{self.subdivision}" if self.country and self.subdivision else self.country
