"""Executors as a caller may see them."""

from typing import Any, Final

from scheduler.api.route import Call
from scheduler.store.reading import list_executors

_OF_OPERATORS: Final = ("host", "pid", "version")
"""What of an executor only those see to whom the installation belongs."""


async def visible_executors(call: Call) -> list[dict[str, Any]]:
    """Return executors that live, or stopped within a day; where they run is for the operator's tenant."""
    rows = await list_executors(call.store, lease_s=call.site.lease_s)
    hidden = () if call.caller.runs_installation else _OF_OPERATORS
    return [{key: value for key, value in row.items() if key not in hidden} for row in rows]
