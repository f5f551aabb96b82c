"""A job defined over HTTP: read and applied as one of a file is."""

import asyncio
from collections.abc import Mapping
from typing import Any

from scheduler.api.route import Call
from scheduler.definitions.export import exported_job
from scheduler.definitions.model import Definitions
from scheduler.definitions.one_job import load_job
from scheduler.store.calendars import list_calendar_specs
from scheduler.store.definitions import apply
from scheduler.store.job_versions import list_current_versions
from scheduler.store.reading import Row, get_job
from schemas.job_spec import JobSpec


async def change_job(call: Call, name: str, given: Mapping[str, Any]) -> Row:
    """Make the job ``name`` what ``given`` says, and return it as it is then.

    It keeps the source that applied it before, so that --prune of that source knows it still.

    Raises:
        DefinitionsError: with everything that is wrong.
        ConflictError: its pool does not exist, or its needs lead in a circle.
    """
    store, tenant = call.store, call.tenant
    known = {version.name: version.source for version in await list_current_versions(store, tenant)}
    spec, warnings = await asyncio.to_thread(
        load_job,
        name,
        given,
        known=frozenset(known),
        calendars=await list_calendar_specs(store, tenant),
        settings=call.site.settings.job_defaults(),
        now=call.clock.now(),
    )
    wanted = Definitions(tenant, known.get(name), {name: spec}, {}, (), warnings)
    await apply(store, wanted, prune=False, clock=call.clock)
    return await get_job(store, tenant, name)


def patched(stored: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the definition ``stored`` with ``changes`` (RFC 7396), as somebody would write it."""
    plain = exported_job(JobSpec.model_validate(stored))
    return _merged(plain, changes)


def _merged(below: Any, changes: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(below) if isinstance(below, dict) else {}
    for key, value in changes.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = _merged(merged.get(key), value) if isinstance(value, dict) else value
    return merged
