"""From what was counted and measured to the families that Prometheus reads; nothing is kept twice."""

from collections import Counter
from collections.abc import Iterator
from itertools import accumulate

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from scheduler.counts import BUCKETS_S, Counts
from scheduler.metric_names import COUNTED, DURATION, FROM_ROWS, JOB_METRIC, Measured


class OfRows(Collector):
    """Gauges of the database: all processes that show them show the same."""

    def __init__(self) -> None:
        self.measured = Measured()

    def collect(self) -> Iterator[Metric]:
        for named in FROM_ROWS:
            found = [(label, value) for name, label, value in self.measured.values if name == named.source]
            if found:
                family = GaugeMetricFamily(named.name, named.text, labels=named.labels)
                for label, value in found:
                    family.add_metric([label] if named.labels else [], value)
                yield family
        if self.measured.jobs:
            family = GaugeMetricFamily(JOB_METRIC.name, JOB_METRIC.text, labels=JOB_METRIC.labels)
            for *labels, value in self.measured.jobs:
                family.add_metric([str(label) for label in labels], float(value))
            yield family


class OfCounts(Collector):
    """Counters of this process."""

    def __init__(self, counts: Counts) -> None:
        self._counts = counts

    def collect(self) -> Iterator[Metric]:
        counts = self._counts
        found: dict[str, Counter[str]] = {
            "redelivered": counts.redelivered,
            "buried": counts.buried,
            "ended": counts.ended,
            "denied": counts.denied,
            "leases": Counter({"": counts.leases_lost}),
        }
        for named in COUNTED:
            family = CounterMetricFamily(named.name, named.text, labels=named.labels)
            for label, value in found[named.source].items():
                family.add_metric([label] if named.labels else [], value)
            yield family
        sums = accumulate(counts.durations)
        buckets = [(str(float(bound)), float(n)) for bound, n in zip((*BUCKETS_S, float("inf")), sums, strict=True)]
        buckets[-1] = ("+Inf", buckets[-1][1])
        yield HistogramMetricFamily(DURATION.name, DURATION.text, buckets=buckets, sum_value=counts.duration_sum_s)
