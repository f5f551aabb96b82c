"""What one process tells Prometheus: whether it is ready, how often each log name was written, its size."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Info, ProcessCollector, generate_latest

from scheduler import __version__
from scheduler.counts import COUNTS
from scheduler.metric_families import OfCounts, OfRows
from scheduler.metric_names import Measured

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"


Measure = Callable[[], Awaitable[Measured]]


class Metrics:
    """The metrics of one process; ``name`` is its actor, or ``up``."""

    def __init__(self, name: str) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        Info("scheduler", "This process.", registry=self._registry).info({"actor": name, "version": __version__})
        self._ready = Gauge("scheduler_ready", "1 while /readyz says so.", registry=self._registry)
        trips = "A message through this part and back, just now."
        self._round_trips = Gauge("scheduler_round_trip_seconds", trips, ("part",), registry=self._registry)
        lines = "Log lines by name; the names are stable."
        self._lines = Counter("scheduler_log_lines", lines, ("name", "level"), registry=self._registry)
        self.measure: Measure | None = None
        """Reads what the rows say; None: this process reads none, or not now."""
        self._of_rows = OfRows()
        self._rows = CollectorRegistry()
        self._rows.register(self._of_rows)
        self._registry.register(OfCounts(COUNTS))

    def count_line(self, name: str, level: str, count: int = 1, /) -> None:
        self._lines.labels(name, level).inc(count)

    async def refresh(self) -> None:
        """Look at the rows, if this process has any to look at; before ``render``."""
        self._of_rows.measured = Measured() if self.measure is None else await self.measure()

    def render(self, *, ready: bool, round_trips: Mapping[str, float], rows: bool = True) -> bytes:
        """Return the exposition text of this moment; ``round_trips`` in seconds, by part.

        ``rows=False`` leaves out what the rows say, which is of all tenants.
        """
        self._ready.set(ready)
        self._round_trips.clear()
        for part, seconds in round_trips.items():
            self._round_trips.labels(part).set(seconds)
        return generate_latest(self._registry) + (generate_latest(self._rows) if rows else b"")
