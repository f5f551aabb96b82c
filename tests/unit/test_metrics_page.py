"""What /metrics shows: every name that is listed, in the form that Prometheus reads."""

import re

from prometheus_client.parser import text_string_to_metric_families

from scheduler.counts import BUCKETS_S, Counts
from scheduler.metric_families import OfCounts, OfRows
from scheduler.metric_names import ALL, FROM_ROWS, Measured
from scheduler.metrics import Metrics


async def read(metrics: Metrics) -> dict[str, list[tuple[dict[str, str], float]]]:
    await metrics.refresh()
    text = metrics.render(ready=True, round_trips={}).decode()
    found: dict[str, list[tuple[dict[str, str], float]]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, []).append((sample.labels, sample.value))
    return found


async def measured() -> Measured:
    values = [(named.source, "x" if named.labels else "", 2.0) for named in FROM_ROWS]
    return Measured(values, [("default", "import", "rows", 7.0)])


async def test_every_listed_metric_is_shown_with_its_labels():
    metrics = Metrics("recorder")
    metrics.measure = measured

    found = await read(metrics)

    shown = {name.removesuffix("_bucket") for name in found}
    assert {named.name for named in FROM_ROWS} <= shown
    assert found["scheduler_job_metric"] == [({"tenant": "default", "job": "import", "name": "rows"}, 7.0)]
    assert found["scheduler_backlog_runs"] == [({"pool": "x"}, 2.0)]
    assert "scheduler_attempt_duration_seconds" in shown
    assert "scheduler_leases_lost_total" in shown


async def test_without_rows_nothing_is_made_up():
    found = await read(Metrics("executor"))

    assert not {named.name for named in FROM_ROWS} & set(found)


def test_names_follow_the_conventions():
    for named in ALL:
        assert re.fullmatch(r"scheduler_[a-z_]+", named.name)
        assert named.name.endswith("_total") == (named.kind == "counter")
        assert not set(named.labels) & {"run", "run_id", "job_id", "attempt"}


def test_durations_are_counted_in_cumulative_buckets():
    counts = Counts()
    counts.end([("succeeded", 0.005), ("succeeded", 0.2), ("failed", 100_000.0)])

    families = {family.name: family for family in OfCounts(counts).collect()}
    samples = families["scheduler_attempt_duration_seconds"].samples
    buckets = {sample.labels["le"]: sample.value for sample in samples if sample.name.endswith("_bucket")}

    assert (buckets["0.005"], buckets["0.25"], buckets[str(float(BUCKETS_S[-1]))], buckets["+Inf"]) == (1, 2, 2, 3)
    ended = {sample.labels["outcome"]: sample.value for sample in families["scheduler_attempts_ended"].samples}
    assert ended == {"succeeded": 2, "failed": 1}


def test_no_rows_no_families():
    assert list(OfRows().collect()) == []
