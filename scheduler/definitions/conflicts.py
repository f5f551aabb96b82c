"""Firings that get into each other's way: of one job at one instant, and of one pool in one minute.

The search is bounded: SPAN and the limit for the triggers of a job, CROWD_SPAN and MOST_IN_ALL for
a pool. What lies beyond is not warned of.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from datetime import timedelta
from typing import Final

from scheduler.definitions.problems import Problem, warning_of
from scheduler.simulation.instants import MINUTE, to_instant
from scheduler.simulation.upcoming import Upcoming
from schemas.job_spec import JobSpec
from schemas.vocabulary import OverlapPolicy

SPAN: Final = timedelta(days=366)
_MOST_OF_ONE: Final = 10_000
"""Firings of one trigger that are looked at: more than a year of an hourly one."""
CROWD_SPAN: Final = timedelta(days=7)
MOST_IN_ALL: Final = 1_000_000
"""Firings of all jobs that are looked at: about a second's work."""
_MOST_NAMED: Final = 5


def limit_of(jobs: Collection[JobSpec]) -> int:
    """Return how many firings of each trigger find_same_instants may look at, so that all take a second or so."""
    return min(
        _MOST_OF_ONE,
        MOST_IN_ALL // max(1, sum(len(spec.time_triggers) for spec in jobs if len(spec.time_triggers) > 1)),
    )


def find_same_instants(name: str, spec: JobSpec, upcoming: Upcoming, limit: int) -> Iterator[tuple[int, str]]:
    """Yield index and warning for each trigger that fires at an instant of one before it, among ``limit`` of each."""
    enabled = [(index, trigger) for index, trigger in spec.time_triggers if trigger.enabled]
    if len(enabled) < 2 or not spec.enabled:  # noqa: PLR2004 - it takes two
        return
    first_at: dict[int, int] = {}
    for index, trigger in enabled:
        times = upcoming.firings(name, spec, trigger, SPAN, limit, anchor=upcoming.now)
        common = [at for at in times if at in first_at]
        if common:
            more = "" if len(common) == 1 else f" and {len(common) - 1} times more"
            other = first_at[common[0]]
            yield index, f"fires at the instants of triggers[{other}] too: at {_text(common[0])}{more}; {_fate(spec)}"
        for at in times:
            first_at.setdefault(at, index)


def find_crowds(jobs: Mapping[str, JobSpec], upcoming: Upcoming, slots_of: Callable[[str], int]) -> Iterator[Problem]:
    """Yield a warning for each pool some minute of which has more firings than the pool has slots.

    A job counts for no more than it may have running at once.
    """
    wanted: dict[str, Counter[int]] = {}
    by_job: dict[str, Counter[int]] = {}
    left = MOST_IN_ALL
    for name, spec in jobs.items():
        minutes: Counter[int] = Counter()
        for _, trigger in spec.time_triggers if spec.enabled else ():
            if trigger.enabled and left > 0:
                times = upcoming.firings(name, spec, trigger, CROWD_SPAN, left, anchor=upcoming.now)
                minutes.update(at // MINUTE for at in times)
                left -= len(times)
        if spec.max_running is not None and minutes:
            minutes = Counter({minute: min(firings, spec.max_running) for minute, firings in minutes.items()})
        by_job[name] = minutes
        wanted.setdefault(spec.pool, Counter()).update(minutes)
    for pool, minutes in wanted.items():
        slots = slots_of(pool)
        crowded = [minute for minute, firings in minutes.items() if firings > slots]
        if crowded:
            worst = max(crowded, key=lambda minute: (minutes[minute], -minute))
            names = [name for name, spec in jobs.items() if spec.pool == pool and by_job[name][worst]]
            yield _crowd(pool, slots, minutes[worst], worst, len(crowded), names)


def _crowd(pool: str, slots: int, firings: int, minute: int, minutes: int, names: list[str]) -> Problem:
    shown = ", ".join(names[:_MOST_NAMED]) + (", …" if len(names) > _MOST_NAMED else "")
    more = f" ({minutes - 1} more such minutes within {CROWD_SPAN.days}d)" if minutes > 1 else ""
    return warning_of(
        f"pools.{pool}",
        f"{firings} firings in the minute of {_text(minute * MINUTE)}, and {slots} slots to start them: "
        f"{shown}{more}; the others wait",
    )


def _fate(spec: JobSpec) -> str:
    if spec.overlap is OverlapPolicy.ALLOW:
        return "the job starts twice"
    if spec.overlap is OverlapPolicy.SKIP:
        return "one of the two is skipped_overlap" if spec.max_running == 1 else "both count against max_running"
    return f"overlap {spec.overlap} decides between the two"


def _text(us: int) -> str:
    return to_instant(us).isoformat().replace("+00:00", "Z")
