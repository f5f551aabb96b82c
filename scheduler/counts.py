"""What this process counted since it began: one for the process, as its memory is; ``/metrics`` tells it."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable
from typing import Final

BUCKETS_S: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 7200)


class Counts:
    """Cheap enough for every batch: nothing is computed before somebody looks."""

    def __init__(self) -> None:
        self.redelivered: Counter[str] = Counter()
        """Messages that came again, by queue."""
        self.buried: Counter[str] = Counter()
        """Messages put into the dead letters, by the queue they came from."""
        self.ended: Counter[str] = Counter()
        """Ends of attempts as reported, by outcome."""
        self.denied: Counter[str] = Counter()
        """Requests that were refused, by status: 401, 403, 404 for another tenant's."""
        self.leases_lost = 0
        self.durations = [0] * (len(BUCKETS_S) + 1)
        """Attempts by the first of BUCKETS_S that is not shorter."""
        self.duration_sum_s = 0.0

    def end(self, ends: Iterable[tuple[str, float]]) -> None:
        """Count ends of attempts: outcome and seconds."""
        for outcome, seconds in ends:
            self.ended[outcome] += 1
            self.durations[bisect_left(BUCKETS_S, seconds)] += 1
            self.duration_sum_s += seconds


COUNTS: Final = Counts()
