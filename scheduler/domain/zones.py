"""Time zones by IANA name, from the newest data at hand, and what their changes do to wall times.

The only place that turns wall times into instants. A Debian image may hold data two years old,
which zoneinfo would prefer to the tzdata package: a job in Vancouver would then run an hour off.
So the newer of the two is read here, without touching the process-wide search path.
"""

import difflib
import importlib.metadata
import re
import zoneinfo
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

from tzdata import IANA_VERSION  # type: ignore[import-untyped] # two constants, no stubs

_REFUSED: Final = frozenset({"Factory", "localtime", "posixrules"})
"""Names that the data knows and that name no place: they follow the machine or mean nothing."""
CORRECTION: Final = timedelta(hours=3)
"""A change of offset by more is a correction and not summer time, as in cron(8)."""
_OFFSET: Final = re.compile(r"[+-]\d")
_SECOND: Final = timedelta(seconds=1)
_STEADY: Final = timedelta(hours=6)


class _System(NamedTuple):
    version: str
    folder: Path | None


def _system_data() -> _System:
    """Return the version and the folder of the system's zone files; an empty version: none, or not known."""
    for folder in map(Path, zoneinfo.TZPATH):
        try:
            with (folder / "tzdata.zi").open(encoding="utf-8") as lines:
                words = lines.readline().split()
        except OSError:
            continue
        if words[:2] == ["#", "version"] and len(words) > 2:  # noqa: PLR2004 - "# version 2026f"
            return _System(words[2], folder)
    return _System("", None)


_PACKAGED: Final[str] = IANA_VERSION
_SYSTEM: Final = _system_data()
_SYSTEM_FOLDER: Final = _SYSTEM.folder if _SYSTEM.version > _PACKAGED else None

TZDATA_VERSION: Final = _SYSTEM.version if _SYSTEM_FOLDER else _PACKAGED
"""IANA version of the data in use, as ``2026f``; stored with what was computed by it."""
TZDATA_SOURCE: Final = (
    str(_SYSTEM_FOLDER) if _SYSTEM_FOLDER else f"tzdata {importlib.metadata.version('tzdata')} (Python package)"
)


@lru_cache(maxsize=1)
def zone_names() -> frozenset[str]:
    """Return the names that are taken."""
    names = set((resources.files("tzdata") / "zones").read_text(encoding="utf-8").split())
    if _SYSTEM_FOLDER:
        names |= zoneinfo.available_timezones()
    return frozenset(names - _REFUSED)


def _nearest(name: str) -> str | None:
    """Return the zone that is likely meant by a name written otherwise, misspelt, or of the city alone."""
    if _OFFSET.search(name):  # Etc/GMT+1 is an hour behind UTC: no writer of GMT+1 means that
        return None
    plain = {known.casefold(): known for known in sorted(zone_names())}
    cities = {known.rpartition("/")[2]: zone for known, zone in plain.items() if "/" in known}
    word = name.casefold().replace(" ", "_")
    near = difflib.get_close_matches(word, [*plain, *cities], n=1, cutoff=0.8)
    return (cities | plain)[near[0]] if near else None


@lru_cache(maxsize=1024)
def zone(name: str) -> ZoneInfo:
    """Return the time zone called ``name`` exactly so in the IANA data; cached.

    Raises:
        ValueError: there is none. No path, offset or name of the machine's own zone is taken.
    """
    if name not in zone_names():
        near = _nearest(name[:64])
        hint = f"; did you mean {near}?" if near else ""
        raise ValueError(f"{name[:64]!r} is no time zone; allowed are IANA names such as Asia/Tokyo or UTC{hint}")
    packaged = resources.files("tzdata.zoneinfo").joinpath(*name.split("/"))
    newer = _SYSTEM_FOLDER / name if _SYSTEM_FOLDER else None
    with (newer if newer and newer.is_file() else packaged).open("rb") as data:
        return ZoneInfo.from_file(data, key=name)


@dataclass(frozen=True, slots=True)
class Change:
    """A change of offset that skips wall times (a gap) or repeats them (a fold)."""

    at: datetime
    """The first instant of the new offset, naive UTC."""
    before: timedelta
    after: timedelta

    @property
    def is_gap(self) -> bool:
        return self.after > self.before

    @property
    def is_correction(self) -> bool:
        return abs(self.after - self.before) > CORRECTION

    @property
    def wall_end(self) -> datetime:
        """The first wall time that is neither skipped nor repeated."""
        return self.at + max(self.before, self.after)

    @property
    def wall_start(self) -> datetime:
        """The first wall time that is skipped or repeated."""
        return self.at + min(self.before, self.after)


_FOUND: Final[dict[ZoneInfo, Change]] = {}
"""The change last asked for in each zone: all the wall times of one fold ask for the same one."""


def offset_at(instant: datetime, tz: ZoneInfo) -> timedelta:
    """Return the offset of ``tz`` at an instant given as naive UTC."""
    return tz.fromutc(instant.replace(tzinfo=tz)).replace(tzinfo=None) - instant


def steady_offset(start: datetime, end: datetime, tz: ZoneInfo) -> timedelta | None:
    """Return the offset of ``tz`` from ``start`` to ``end``, naive UTC and both included; None: it changes.

    Looks every six hours: no zone has two changes closer than that.
    """
    offset, at = offset_at(end, tz), start
    while at < end:
        if offset_at(at, tz) != offset:
            return None
        at += _STEADY
    return offset


def change_around(wall: datetime, tz: ZoneInfo) -> Change | None:
    """Return the change that skips or repeats the wall time; None: it exists exactly once."""
    before, after = offset_of(wall, tz), offset_of(wall.replace(fold=1), tz)
    if before == after:
        return None
    change = _FOUND.get(tz)
    if change is None or not change.wall_start <= wall < change.wall_end:
        change = _FOUND[tz] = _find_change(wall, tz, before, after)
    return change


def _find_change(wall: datetime, tz: ZoneInfo, before: timedelta, after: timedelta) -> Change:
    low = (wall - max(before, after)).replace(microsecond=0)  # before the change, which is at a whole second
    span = abs(after - before) // _SECOND + 1  # at or after the change
    first, last = 0, span
    while last - first > 1:
        middle = (first + last) // 2
        if offset_at(low + middle * _SECOND, tz) == after:
            last = middle
        else:
            first = middle
    return Change(low + last * _SECOND, before, after)


def offset_of(wall: datetime, tz: ZoneInfo) -> timedelta:
    """Return the offset of a wall time; ``fold`` chooses the side of a change (PEP 495)."""
    offset = tz.utcoffset(wall)
    if offset is None:
        raise ValueError("a time zone without an offset")
    return offset


def to_instant(wall: datetime, tz: ZoneInfo) -> datetime:
    """Return the aware UTC instant of a naive wall time.

    A skipped wall time is the instant of the change, right after the gap; a repeated one is the
    first of the two.
    """
    change = change_around(wall, tz)
    instant = change.at if change and change.is_gap else wall.replace(fold=0) - offset_of(wall.replace(fold=0), tz)
    return instant.replace(tzinfo=UTC)
