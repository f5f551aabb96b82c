"""Public holidays of countries, from the ``holidays`` library.

The only place that imports it, and only when a country is asked for: it takes 16 MB. The library
answers with an empty set for years it knows nothing of, so its bounds are kept with the days.
"""

import difflib
import importlib.metadata
import re
import warnings
from collections.abc import Collection
from datetime import date
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from holidays import HolidayBase

_FIRST_YEAR: Final = 1970
_LANGUAGE: Final = "en_US"
_LISTED: Final = 60
_MEANT: Final = {
    "UK": "GB", "EL": "GR", "EN": "GB", "DD": "DE", "SU": "RU",
    "GER": "DE", "SUI": "CH", "NED": "NL", "DEN": "DK", "POR": "PT",
}  # fmt: skip
"""Codes that are or were in use, for plates, in sports, and are not those of ISO 3166."""
_WORD: Final = re.compile("[A-Z]+")
_CODE: Final = 2
_NEAR: Final = 0.75


class CountryDays(NamedTuple):
    """What the library says of one country or subdivision."""

    weekend: frozenset[int]
    closed: dict[date, str]
    worked: frozenset[date]
    """Days of a weekend that are worked in exchange for a holiday."""
    first: date
    last: date
    source: str
    """Library and version."""


@lru_cache(maxsize=64)
def country_days(place: str) -> CountryDays:
    """Return the public holidays of a country (``JP``) or a part of it (``US-CA``), for all years with data.

    Observed days are included, in the year before too (New Year's Day 2028 is observed on 2027-12-31).

    Raises:
        ValueError: one plain sentence: there is no such country or part.
    """
    import holidays

    code, _, part = place.partition("-")
    countries = holidays.list_supported_countries(include_aliases=False)
    if code not in countries:
        raise ValueError(f"{code!r} is no country with known holidays; {_hint(country_meant(code) or code, countries)}")
    if part and part not in countries[code]:
        raise ValueError(f"{code} has no subdivision {part!r}; {_hint(part, countries[code])}")
    bounds: Any = getattr(holidays, code)
    language = _LANGUAGE if _LANGUAGE in bounds.supported_languages else None
    found = holidays.country_holidays(code, subdiv=part or None, language=language)
    years = _years_with_data(found, range(max(bounds.start_year, _FIRST_YEAR), bounds.end_year + 1))
    closed = {day: name for day, name in found.items() if day.year in years}
    return CountryDays(
        weekend=frozenset(found.weekend),
        closed=closed,
        worked=frozenset(found.weekend_workdays - closed.keys()),
        first=date(years.start, 1, 1),
        last=date(years.stop - 1, 12, 31),
        source=f"holidays {importlib.metadata.version('holidays')}",
    )


def _years_with_data(found: "HolidayBase", years: range) -> range:
    """Have ``found`` work out each of ``years``, and return the last uninterrupted ones it has data for.

    For some countries a warning says that a year is known in part only (India after 2035 has no
    Hindu holidays). That is no data either.
    """
    doubtful: set[int] = set()
    for year in years:
        with warnings.catch_warnings(record=True) as doubts:
            warnings.simplefilter("always")
            found.get(date(year, 1, 1))
        if doubts:
            doubtful.add(year)
    good = {day.year for day in found} & set(years) - doubtful
    if not good:
        raise ValueError(f"{found.country} has no known holidays; list them in a calendar of your own")
    first = last = max(good)
    while first - 1 in good:
        first -= 1
    return range(first, last + 1)


def country_meant(word: str) -> str | None:
    """Return the code of the country that ``word`` most likely means: a name, or a code misspelt or of another kind."""
    from holidays.registry import COUNTRIES

    names = {module.replace("_", " "): code for module, (_, code, *_) in COUNTRIES.items()}
    names |= {other.lower(): code for _, code, *others in COUNTRIES.values() for other in others}
    codes = {code: code for _, code, *_ in COUNTRIES.values()} | _MEANT
    near = difflib.get_close_matches(word[:64].lower().replace("_", " "), names, n=1, cutoff=_NEAR)
    if near and word.upper() not in codes:
        return names[near[0]]
    code = _WORD.match(word.upper())  # JPP, US-
    return codes.get(word.upper()) or (codes.get(code[0][:_CODE]) if code and len(code[0]) <= _CODE + 1 else None)


def _hint(word: str, known: Collection[str]) -> str:
    meant = _MEANT.get(word, word.upper())
    if meant not in known:
        meant = next(iter(difflib.get_close_matches(word[:64], known, n=1, cutoff=_NEAR)), "")
    if meant:
        return f"did you mean {meant}?"
    if len(known) > _LISTED:
        return "allowed are ISO 3166 codes such as JP, US-CA or DE-BY"
    return f"allowed: {', '.join(known)}" if known else "it has none"
