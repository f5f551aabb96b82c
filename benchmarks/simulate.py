"""How long the command `scheduler simulate` takes for a year of 300 hourly schedules, reading and printing included."""

import json
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

_COMMAND: Final = (sys.executable, "-c", "from scheduler.cli.main import main; main()")
_SCHEDULES: Final = 300
_DAYS: Final = 365
_ZONES: Final = ("UTC", "Europe/Berlin", "America/New_York", "Asia/Tokyo", "Australia/Lord_Howe")
_FROM: Final = datetime(2026, 1, 1, tzinfo=UTC)


def measure_simulate(scale: float) -> dict[str, Any]:
    """Simulate a year (``scale`` shortens it) of schedules, every hour each, over five zones."""
    days = max(2, round(_DAYS * scale))
    jobs = {
        f"job-{number}": {
            "run": {"command": ["true"]},
            "timezone": _ZONES[number % len(_ZONES)],
            "triggers": [{"cron": f"{number % 60} * * * *"}],
        }
        for number in range(_SCHEDULES)
    }
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "jobs.json"
        file.write_text(json.dumps({"version": 1, "jobs": jobs}), encoding="utf-8")
        times = ("--from", _FROM.isoformat(), "--to", (_FROM + timedelta(days=days)).isoformat())
        since = time.monotonic()
        done = subprocess.run(
            [*_COMMAND, "simulate", str(file), *times, "--limit", "0", "--json"],
            capture_output=True,
            text=True,
            check=True,
        )
        seconds = time.monotonic() - since
    return {
        "schedules": _SCHEDULES,
        "days": days,
        "firings": json.loads(done.stdout)["firings_left_off"],
        "seconds": round(seconds, 2),
    }
