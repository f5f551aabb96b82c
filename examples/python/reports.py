"""Jobs written in Python. Run them all in one process:

    scheduler up examples/python/reports.py

``validate``, ``plan``, ``apply`` and ``simulate`` take the file too. Nothing runs by importing it, and every
function can be called by hand.
"""

from datetime import timedelta
from typing import Any

from scheduler import HandlerContext, Retry, Timeout, cron, every, file_keys, job

head = file_keys(source="reports", defaults={"timezone": "Asia/Tokyo"})


class StaleError(Exception):
    """The orders are not there yet; worth another try."""


@job(cron("0 2 * * 1-5"), retry=Retry(attempts=3, initial=timedelta(seconds=1), on=[StaleError, "timeout"]))
def load_orders(day: str = "today", minimum: int = 0) -> dict[str, Any]:
    """Read the orders of a day. Its params are the arguments; what it returns is its result."""
    amounts = [120, 80, 45]
    if not amounts:
        raise StaleError(f"no orders of {day} yet")
    return {"day": day, "rows": [amount for amount in amounts if amount >= minimum]}


@job(needs=[load_orders], timeout=Timeout(soft="1m", hard="2m"))
def sum_up(ctx: HandlerContext) -> dict[str, int]:
    """Add the orders up; the results of upstream jobs are in the context."""
    rows = ctx.results["load_orders"]["rows"]
    ctx.log(f"{len(rows)} orders")
    ctx.metric("orders", len(rows))
    return {"total": sum(rows)}


@job(every("15m"), name="heartbeat", isolation="inline", params={"to": "monitor"})
async def say_alive(to: str) -> str:
    """Run on the executor's own loop: milliseconds, and nothing that blocks."""
    return f"hello {to}"
