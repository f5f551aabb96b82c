"""What ``scheduler up`` with 100 jobs costs when there is nothing to do."""

import json
import time
from pathlib import Path
from typing import Any, Final

from benchmarks.processes import tree_cpu_s, tree_pss_mb
from benchmarks.system import SCHEDULER, environment, ready
from tests.support.services import Estate, Server, free_port, until

_SETTLES_S: Final = 60.0
_MEASURED_S: Final = 30.0


def measure_idle_up(jobs: int = 100) -> dict[str, float]:
    """Return memory and share of a core, both with its private PostgreSQL, a minute after the start."""
    estate = Estate.open()
    try:
        definitions = estate.root / "jobs.json"
        definitions.write_text(json.dumps({"jobs": {f"job-{number}": _job() for number in range(jobs)}}))
        return _measure(estate, definitions)
    finally:
        estate.close()


def _job() -> dict[str, Any]:
    return {"run": {"command": ["true"]}, "triggers": [{"cron": "0 3 1 1 *"}]}


def _measure(estate: Estate, definitions: Path) -> dict[str, float]:
    port = free_port()
    argv = [SCHEDULER, "up", str(definitions), "--port", str(port)]
    server = Server(argv, environment(estate.root), estate.root / "up.log", estate=estate, ending="TERM")
    until(lambda: ready(port), server, timeout_s=60, what="scheduler up")
    time.sleep(_SETTLES_S)
    before = tree_cpu_s(server.pid)
    time.sleep(_MEASURED_S)
    used = tree_cpu_s(server.pid) - before
    memory = tree_pss_mb(server.pid)
    server.signal(15)
    server.wait()
    return {"pss_mb": round(memory, 1), "cpu_percent": round(100 * used / _MEASURED_S, 2)}
