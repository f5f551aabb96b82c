"""The text of a cron expression: what each item of each field means, and what is refused.

croniter would accept much of what is refused here and read it otherwise than cron(8) does:
ranges that run backwards, steps beyond the field, random values, words of calendars (docs/time.md).
"""

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from scheduler.domain.cron_hash import spread

MAX_TEXT: Final = 256
"""Characters. The longest sensible expression has about 120; parsing time grows with the length."""


class FieldSpec(NamedTuple):
    name: str
    low: int
    high: int
    names: tuple[str, ...] = ()

    @property
    def allowed(self) -> str:
        names = f" or {self.names[0]}-{self.names[-1]}" if self.names else ""
        special = {"day": ", L, ?", "weekday": ", 5L, 5#2, ?"}.get(self.name, "")
        return f"allowed are {self.low}-{self.high}{names}, *, ranges, lists, steps, H{special}"


MONTHS: Final = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
WEEKDAYS: Final = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
_SECOND: Final = FieldSpec("second", 0, 59)
_MINUTE: Final = FieldSpec("minute", 0, 59)
_HOUR: Final = FieldSpec("hour", 0, 23)
DAY: Final = FieldSpec("day", 1, 31)
_MONTH: Final = FieldSpec("month", 1, 12, MONTHS)
WEEKDAY: Final = FieldSpec("weekday", 0, 7, WEEKDAYS)
FIELDS: Final = (_SECOND, _MINUTE, _HOUR, DAY, _MONTH, WEEKDAY)

_MACROS: Final = {
    "@YEARLY": "0 0 1 1 *",
    "@ANNUALLY": "0 0 1 1 *",
    "@MONTHLY": "0 0 1 * *",
    "@WEEKLY": "0 0 * * 0",
    "@DAILY": "0 0 * * *",
    "@MIDNIGHT": "0 0 * * *",
    "@HOURLY": "0 * * * *",
}
_VALUE: Final = r"[A-Z]{3}|\d{1,2}"
_PLAIN: Final = re.compile(rf"(?:(?P<star>\*)|(?P<first>{_VALUE})(?:-(?P<last>{_VALUE}))?)(?:/(?P<step>\d{{1,3}}))?")
_HASHED: Final = re.compile(r"H(?:\((?P<low>\d{1,2})-(?P<high>\d{1,2})\))?(?:/(?P<step>\d{1,3}))?")
_NTH: Final = re.compile(rf"(?P<weekday>{_VALUE})#(?P<nth>\d)")
_LAST_WEEKDAY: Final = re.compile(r"(?P<before>[A-Z]{3}|\d)L|L(?P<after>[A-Z]{3}|\d)")
_CALENDAR_WORDS: Final = re.compile(r"\d{1,2}W|W\d{1,2}|W|LW|WL|L-\d+W?")
_MAX_NTH: Final = 5
DAYS_A_WEEK: Final = 7


@dataclass(slots=True)
class FieldItems:
    """One field on its way from text to values; the lists grow with each item taken."""

    spec: FieldSpec
    hash_key: str
    plain: list[str] = field(default_factory=list)
    """Items that croniter expands, in numbers and without ambiguity."""
    last_day: bool = False
    nth: set[tuple[int, int]] = field(default_factory=set)
    last_weekdays: set[int] = field(default_factory=set)

    def take(self, item: str) -> None:
        """Sort one item of the field's list into what it means.

        Raises:
            ValueError: the item is not allowed here; one sentence says why and what is.
        """
        if item == "?" and self.spec in {DAY, WEEKDAY}:
            self._add(self.spec.low, self._high, 1)
        elif self.spec is DAY and item == "L":
            self.last_day = True
        elif self.spec is WEEKDAY and (nth := _NTH.fullmatch(item)):
            self._take_nth(item, nth)
        elif self.spec is WEEKDAY and (last := _LAST_WEEKDAY.fullmatch(item)):
            self.last_weekdays.add(self._value(item, last["before"] or last["after"]) % DAYS_A_WEEK)
        elif hashed := _HASHED.fullmatch(item):
            self._take_hashed(item, hashed)
        elif plain := _PLAIN.fullmatch(item):
            self._take_plain(item, plain)
        else:
            raise self.wrong(item, self._why_unreadable(item))

    @property
    def _high(self) -> int:
        return DAYS_A_WEEK - 1 if self.spec is WEEKDAY else self.spec.high

    def wrong(self, item: str, why: str) -> ValueError:
        return ValueError(f"{self.spec.name} field: {item!r} {why}")

    def _why_unreadable(self, item: str) -> str:
        if _CALENDAR_WORDS.fullmatch(item):
            return f"is not supported in cron; a `calendar` trigger says it, with holidays too; {self.spec.allowed}"
        if item.startswith("R"):
            return f"is random, each process would draw another; H is stable; {self.spec.allowed}"
        if item == "L":
            return "needs a weekday, as in 5L for the last Friday"
        return f"is not understood; {self.spec.allowed}{_meant(item, self.spec.names)}"

    def _value(self, item: str, text: str) -> int:
        if text.isdigit():
            value = int(text)
        elif text in self.spec.names:
            value = self.spec.names.index(text) + self.spec.low
        else:
            raise self.wrong(item, f"has an unknown name; {self.spec.allowed}{_meant(text, self.spec.names)}")
        if not self.spec.low <= value <= self.spec.high:
            raise self.wrong(item, f"is out of range; {self.spec.allowed}")
        return value

    def _step(self, item: str, text: str | None) -> int:
        step = 1 if text is None else int(text)
        size = DAYS_A_WEEK if self.spec is WEEKDAY else self.spec.high - self.spec.low + 1
        if not 1 <= step <= size:
            raise self.wrong(item, f"has a step outside the field; allowed are steps of 1-{size}")
        return step

    def _take_nth(self, item: str, match: re.Match[str]) -> None:
        nth = int(match["nth"])
        if not 1 <= nth <= _MAX_NTH:
            raise self.wrong(item, "asks for a week that no month has; allowed are #1 to #5")
        self.nth.add((self._value(item, match["weekday"]) % DAYS_A_WEEK, nth))

    def _take_hashed(self, item: str, match: re.Match[str]) -> None:
        # A month may end on the 28th, so that H alone never skips one.
        low, high = self.spec.low, 28 if self.spec is DAY else self._high
        if match["low"]:
            low, high = self._value(item, match["low"]), self._value(item, match["high"])
        if low > high:
            raise self.wrong(item, "runs backwards; write the smaller number first")
        step = self._step(item, match["step"])
        span = high - low + 1
        first = low + spread(self.hash_key, self.spec.name, min(span, step) if match["step"] else span)
        self._add(first, high if match["step"] else first, step)

    def _take_plain(self, item: str, match: re.Match[str]) -> None:
        step = self._step(item, match["step"])
        if match["star"]:
            self._add(self.spec.low, self._high, step)
            return
        low = self._value(item, match["first"])
        high = low if match["last"] is None else self._value(item, match["last"])
        if match["last"] is None and match["step"]:
            if self.spec is WEEKDAY:
                raise self.wrong(item, "has a step on a single weekday; allowed are steps on * and on ranges")
            high = self.spec.high
        if match["last"] == "SUN" and low > 0:
            high = DAYS_A_WEEK
        if high < low:
            raise self.wrong(item, "runs backwards; write two ranges, as in 22-23,0-4")
        self._add(low, high, step)

    def _add(self, low: int, high: int, step: int) -> None:
        if self.spec is WEEKDAY and high == DAYS_A_WEEK:
            self.plain += [str(value % DAYS_A_WEEK) for value in range(low, high + 1, step)]
        else:
            self.plain.append(str(low) if low == high else f"{low}-{high}/{step}")


def _meant(word: str, known: Sequence[str]) -> str:
    """Return the end of a refusal: which of the names is likely meant; nothing if none is near."""
    turned = [name for name in known if sorted(name) == sorted(word)]
    near = turned or (difflib.get_close_matches(word, known, n=1, cutoff=0.6) if word.lstrip("@").isalpha() else ())
    return f"; did you mean {near[0]}?" if near else ""


def split_fields(text: str, *, seconds: bool) -> list[str]:
    """Return the six fields of ``text``, seconds first, upper case."""
    if len(text) > MAX_TEXT:
        raise ValueError(f"a cron expression of {len(text)} characters; at most {MAX_TEXT} are allowed")
    if not text.isascii() or not text.replace("\t", " ").isprintable():
        raise ValueError(f"a cron expression with characters that are not plain ASCII: {text!r}")
    upper = text.strip(" \t").upper()
    if upper.startswith("@"):
        if upper not in _MACROS:
            known = [macro.lower() for macro in _MACROS]
            hint = _meant(upper.lower(), known)
            raise ValueError(f"{text!r} is no cron macro; allowed are {', '.join(known)}{hint}")
        return ["0", *_MACROS[upper].split()]
    fields = upper.split()
    wanted = 6 if seconds else 5
    if len(fields) != wanted:
        order = "second minute hour day month weekday" if seconds else "minute hour day month weekday"
        hint = "" if seconds else ", or 6 with `seconds: true`, seconds first"
        raise ValueError(f"{text!r} has {len(fields)} fields; allowed are {wanted} ({order}){hint}; there is no year")
    return fields if seconds else ["0", *fields]
