"""The benchmark works: what it prints and writes has every figure. The figures themselves are not judged here."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

_ROOT = Path(__file__).parents[2]
_ACTORS = {"ticker", "dispatcher", "executor", "recorder"}


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_a_quick_benchmark_measures_every_part(tmp_path: Path):
    out = tmp_path / "bench.json"

    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.run", "--quick", "--out", str(out)],
        cwd=_ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert (0, "") == (done.returncode, done.stderr)
    figures = json.loads(out.read_text())
    assert figures["throughput_runs_per_s"] > 0
    assert figures["cpu_us_per_run"].keys() == _ACTORS | {"broker", "postgres"}
    assert figures["rss_mb"].keys() == _ACTORS
    assert figures["throughput"]["runs"] == 100
    assert figures["herd"]["firings"] == 200
    assert 0 < figures["herd"]["seconds"] <= figures["herd"]["ended_seconds"]
    for started in ("command", "warm_python"):
        assert 0 < figures["start_ms"][f"{started}_p50"] <= figures["start_ms"][f"{started}_p99"]
    assert figures["tick_cost"]["stored"] == 20_000
    assert 0 < figures["tick_cost"]["idle_few_ms"] < figures["tick_cost"]["few_ms"]
    assert figures["simulate"]["firings"] == 300 * 24 * figures["simulate"]["days"]
    assert figures["cpu_us_per_webhook_run"].keys() == _ACTORS | {"ingress", "broker", "postgres"}
    assert 0 < figures["webhooks"]["steady_p50_ms"] <= figures["webhooks"]["steady_p99_ms"]
    for latency in ("idle_latency_ms", "firing_lag_ms", "dag_edge_ms"):
        assert 0 < figures[latency]["p50"] <= figures[latency]["p99"]
    assert {"postgresql", "rabbitmq", "python"} <= figures["versions"].keys()
    assert "durable runs/s" in done.stdout
