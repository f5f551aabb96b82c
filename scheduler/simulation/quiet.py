"""Takes whole stretches of firings between which nothing goes on.

Every policy is a pure function. So a firing that finds its lane quiet, punctual and with nothing
else due before it is quiet again, comes to what the one before it came to: that one is worked out
event by event, the others are the same at their own times. Whatever is different is left to the
lane: two firings close together, the first after an outage, what fails, triggers with max_fires.
"""

from array import array
from collections.abc import Sequence
from itertools import chain, groupby
from operator import itemgetter, sub
from typing import Final

from scheduler.simulation.cursors import Cursor, FlowPattern, RunPattern
from scheduler.simulation.instants import DAY, to_instant
from scheduler.simulation.ledger import Chapter, Stretch
from scheduler.simulation.runs import Runs
from schemas.vocabulary import Verdict

_WIDEST: Final = 128 * DAY
_MOST_PATIENCE: Final = 64
"""How many quiet moments are let pass, where stretches are short, before one is looked for again."""


class Quiet:
    """Learns what a firing comes to, and finds the stretches in which that holds."""

    def __init__(self, cursors: Sequence[Cursor], runs: Runs, *, repeatable: bool) -> None:
        self._cursors = cursors
        self._runs = runs
        self._repeatable = repeatable
        self._watched: tuple[Cursor, int, int, int] | None = None
        self._width = DAY
        self._patience, self._waited = 1, 0

    def watch(self, cursor: Cursor, now: int, chapter: Chapter) -> None:
        """Notice a tick: one that finds everything quiet and is punctual can be learned from."""
        fit = self._repeatable and not self._runs.open and now == cursor.next_at and cursor.remaining is None
        self._watched = (cursor, now, len(chapter.rows), len(self._runs.made)) if fit else None

    def forget(self) -> None:
        """Learn nothing from what goes on: it is held up."""
        self._watched = None

    def learn(self, chapter: Chapter) -> None:
        """Keep what the tick watched last came to, now that everything is quiet again."""
        if self._watched is None:
            return
        cursor, fired_at, rows, runs = self._watched
        self._watched = None
        made = self._runs.made[runs:]
        if [row.verdict for row in chapter.rows[rows:]] == [Verdict.STARTED]:
            patterns = tuple(
                RunPattern(
                    run.job.name,
                    run.state,
                    run.reason,
                    tuple(at - fired_at for at in run.started),
                    (run.ended_at or fired_at) - fired_at,
                )
                for run in made
            )
            cursor.pattern = FlowPattern(patterns, max(pattern.ended for pattern in patterns))

    def take(self, begin: int, barrier: int) -> list[Stretch]:
        """Return the stretches from ``begin`` on that end before ``barrier``, the triggers moved behind them."""
        late = any(cursor.next_at is not None and cursor.next_at < begin for cursor in self._cursors)
        if late or not self._repeatable or self._waited < self._patience - 1:
            self._waited += 1
            return []
        self._waited = 0
        found = self._isolated(begin, barrier)
        self._patience = 1 if found else min(2 * self._patience, _MOST_PATIENCE)
        self._width = min(2 * self._width, _WIDEST) if found else DAY
        return [self._stretch(self._cursors[number], times) for number, times in found]

    def _stretch(self, cursor: Cursor, times: list[int]) -> Stretch:
        numbers = tuple(self._runs.count(run.job, len(times)) for run in _known(cursor).runs)
        cursor.move_to(to_instant(times[-1]))
        return Stretch(cursor, _known(cursor), array("q", times), numbers)

    def _isolated(self, begin: int, barrier: int) -> list[tuple[int, list[int]]]:
        """Return the next firings that each end before the next one, by number of the trigger, in turns."""
        end = min(begin + self._width, barrier - 1) - 1
        known: list[int] = []
        for number, cursor in enumerate(self._cursors):
            if cursor.next_at is None:
                continue
            if cursor.pattern is None or cursor.remaining is not None:
                end = min(end, cursor.next_at - 1)
            else:
                known.append(number)
        found: list[tuple[int, list[int]]] = []
        for number in known:
            times, end = self._cursors[number].instants.between(begin - 1, end)
            found.append((number, times))
        if len(found) == 1:
            number, times = found[0]
            alone = _apart([*times, end + 1], _known(self._cursors[number]).span)
            return [(number, times[:alone])] if alone else []
        merged = sorted((at, number) for number, times in found for at in times if at <= end)
        spans = {number: _known(self._cursors[number]).span for number in known}
        following = chain((at for at, _ in merged[1:]), [end + 1] if merged else [])
        alone = next((i for i, ((at, number), after) in enumerate(zip(merged, following, strict=True))
                      if after - at < spans[number]), len(merged))  # fmt: skip
        turns = groupby(merged[:alone], key=itemgetter(1))
        return [(number, [at for at, _ in turn]) for number, turn in turns]


def _known(cursor: Cursor) -> FlowPattern:
    if cursor.pattern is None:
        raise AssertionError(f"nothing is known of {cursor.key}")
    return cursor.pattern


def _apart(times: list[int], span: int) -> int:
    """Return how many of ``times`` are followed by the next one no sooner than after ``span``; the last never is."""
    gaps = list(map(sub, times[1:], times))
    if not gaps or min(gaps) >= span:
        return len(gaps)
    return next(index for index, gap in enumerate(gaps) if gap < span)
