"""What the rows say for ``/metrics``: two queries at most every fifteen seconds, whoever asks how often.

Where they take long, less often: no more than a twentieth of the time is spent with them.
"""

from typing import Final

from scheduler.clock import Clock
from scheduler.errors import TransientError
from scheduler.metric_names import Measured
from scheduler.store.queries import queries
from scheduler.store.stores import Store

Q: Final = queries("measuring")

KEPT_S: Final = 15.0
_IDLE_SHARE: Final = 19.0
MOST_JOB_SERIES: Final = 2000
"""Declared numbers of jobs beyond these are not shown: a metrics server has to hold them all."""


class Measuring:
    """Looks at the rows of one store. ``with_jobs``: also at what jobs declare, which only some roles may read."""

    def __init__(self, store: Store, clock: Clock, *, with_jobs: bool) -> None:
        self._store = store
        self._clock = clock
        self._with_jobs = with_jobs
        self._measured = Measured()
        self._due = -1.0

    async def __call__(self) -> Measured:
        """Return what was measured in the last fifteen seconds, or for longer; nothing while the database is away."""
        began = self._clock.monotonic()
        if began >= self._due:
            self._due = began + KEPT_S
            try:
                self._measured = await self._measure()
            except TransientError:
                self._measured = Measured()
            ended = self._clock.monotonic()
            self._due = max(self._due, ended + (ended - began) * _IDLE_SHARE)
        return self._measured

    async def _measure(self) -> Measured:
        async with self._store.connection() as db:
            values = [(name, label, value) for name, label, value in await db.fetch(Q["measure"]) if value is not None]
            if not self._with_jobs:
                return Measured(values)
            rows = await db.fetch(Q["measure_jobs"], MOST_JOB_SERIES)
        return Measured(values, [(tenant, job, name, value) for tenant, job, name, value in rows])
