"""The figures for people."""

import os
import platform
import re
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from tests.support.services_postgres import programs
from tests.support.services_rabbit import sbin

_LABELS: Final = {
    "throughput_runs_per_s": "durable runs/s, every start claimed",
    "throughput": "… of which",
    "cpu_us_per_run": "CPU µs per run",
    "idle_latency_ms": "idle latency, ms (asked → handler entered)",
    "firing_lag_ms": "firing lag, ms (due → handler entered)",
    "dag_edge_ms": "DAG edge, ms (parent ended → child entered)",
    "herd": "herd due at one instant (seconds: verdicts and runs committed)",
    "webhooks": "webhooks: 500 a second, then bursts at 1,000 (ms: due → answered)",
    "cpu_us_per_webhook": "CPU µs per webhook",
    "webhook_runs": "… each starting a run",
    "cpu_us_per_webhook_run": "CPU µs per webhook with its run",
    "start_ms": "a job started in a process, ms (order → its own first look at a clock)",
    "tick_cost": "a tick that plans 100 due triggers, and one with nothing due, by triggers stored",
    "simulate": "`scheduler simulate`, every schedule hourly (seconds: the whole command)",
    "rss_mb": "memory of each actor, MB (RSS)",
    "pss_mb": "… shared pages by share (PSS)",
    "idle_up": "idle `scheduler up` with 100 jobs, with its PostgreSQL",
}


def print_table(figures: dict[str, Any], out: Path) -> None:
    table = Table(title="benchmark")
    table.add_column("what")
    table.add_column("figures")
    for name, label in _LABELS.items():
        if name in figures:
            table.add_row(label, _text(name, figures[name]))
    console = Console()
    console.print(table)
    console.print(f"{', '.join(f'{name} {text}' for name, text in figures['versions'].items())}; written to {out}")


def versions() -> dict[str, str]:
    """Return what was measured on."""
    folder, scripts = programs(), sbin()
    postgres = subprocess.run([f"{folder}/postgres", "--version"], capture_output=True, text=True, check=True).stdout
    rabbit = re.search(r"rabbitmq_server-([0-9.]+)", str(scripts))
    libraries = ("actor-scheduler", "aio-pika", "asyncpg", "pydantic", "uvloop")
    return {name: version(name) for name in libraries} | {
        "python": platform.python_version(),
        "postgresql": postgres.split()[2],
        "rabbitmq": rabbit[1] if rabbit else "?",
        "cpus": str(len(os.sched_getaffinity(0))),
    }


def _text(name: str, value: Any) -> str:
    if not isinstance(value, dict):
        return f"{value:,}"
    parts = [f"{key} {number:,}" for key, number in value.items()]
    if name.startswith("cpu_us_per_"):
        parts.append(f"together {sum(value.values()):,.1f}")
    return ", ".join(parts)
