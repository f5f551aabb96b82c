"""Whether everything that is needed is there, as the database shows it: for commands and for the HTTP interface."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Final

from scheduler.store.calendars import list_ending
from scheduler.store.reading import Row, count_health, list_held, list_long_lines
from scheduler.store.stores import Store
from scheduler.store.watches import list_troubles

_LATE_S: Final = 60.0
"""A trigger due for so long, and not planned: no Ticker works."""


@dataclass(frozen=True, slots=True)
class Health:
    """``troubles`` by part: empty when all is well. ``warnings`` are for people to look at some day."""

    counts: Row
    troubles: Mapping[str, str]
    warnings: list[str]


async def ask_health(store: Store, tenant: str, *, lease_s: float, today: date, history: bool = True) -> Health:
    """Return how ``tenant`` is served; ``lease_s`` is how long an executor may be silent.

    ``history=False`` leaves out the work on history, which is on that of all tenants and names folders of the operator.
    """
    counts = await count_health(store, tenant, lease_s=lease_s)
    if not history:
        counts = {name: value for name, value in counts.items() if not name.startswith("retention_")}
    held = await list_held(store, tenant, lease_s=lease_s)
    ending = await list_ending(store, tenant, today)
    warnings = [f"calendar {calendar.name}: its data end on {calendar.last_day}" for calendar in ending]
    warnings += await list_troubles(store, tenant)
    lines = await list_long_lines(store, tenant)
    warnings += [f"job {job}: {runs} runs wait in line for their turn, see overlap" for job, runs in lines.items()]
    if counts.get("retention_trouble"):
        warnings.append(f"retention: {counts['retention_trouble']}")
    elif counts.get("retention_is_late"):
        warnings.append(f"retention is due since {counts['retention_next_at']:%Y-%m-%d %H:%M} UTC: nothing is removed")
    return Health(counts, _troubles(counts, held), warnings)


def _troubles(counts: Row, held: Mapping[str, int]) -> dict[str, str]:
    troubles = {}
    if held:
        troubles["runs"] = "; ".join(f"{why} ({number} waiting)" for why, number in held.items())
    if not counts["executors"]:
        troubles["executors"] = "none is heard of: scheduler start executor"
    if not counts["recorders"]:
        troubles["recorders"] = "none is heard of: scheduler start recorder"
    if counts["ticker_lag_s"] > _LATE_S:
        troubles["ticker"] = f"a trigger is due for {counts['ticker_lag_s']:.0f} s: scheduler start ticker"
    if counts["unplanned_triggers"]:
        troubles["triggers"] = f"{counts['unplanned_triggers']} cannot be planned: scheduler jobs"
    if counts["put_off_firings"]:
        troubles["firings"] = f"{counts['put_off_firings']} wait for a definition that cannot be read: scheduler jobs"
    if len(counts["zone_data"]) > 1:
        *older, newest = counts["zone_data"]
        troubles["zone data"] = f"Tickers with {', '.join(older)} stand aside for {newest}: update tzdata there"
    return troubles
