"""Requests made from the OpenAPI document, good ones and bad ones: none is answered with a fault of ours."""

import asyncio
import contextlib
import uuid
from datetime import timedelta
from typing import Any, Final

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from schemathesis import checks
from schemathesis.core.result import Ok
from schemathesis.specs.openapi import checks as conformance

from scheduler.api.app import make_app
from scheduler.api.description import document
from tests.support.api import DAILY, Api
from tests.support.hooks import hooking

CHECKS: Final = [
    checks.not_a_server_error,
    conformance.status_code_conformance,
    conformance.content_type_conformance,
    conformance.response_schema_conformance,
]
PHASES: Final = (Phase.explicit, Phase.generate)


@pytest.mark.slow
@pytest.mark.timeout(180)  # half a minute on a machine that does nothing else
@pytest.mark.parametrize("mode", list(schemathesis.GenerationMode))
async def test_no_request_that_the_document_leads_to_is_a_fault(
    database_url: str, mode: schemathesis.GenerationMode
) -> None:
    asked = await _hammer(database_url, mode, 25)

    assert asked > 500


async def _hammer(dsn: str, mode: schemathesis.GenerationMode, examples: int) -> int:
    """Send so many requests of each operation; return how many were sent."""
    async with hooking(dsn, http={"per_second": 100_000, "failures_per_minute": 100_000}) as hooks:
        api = hooks.api
        known = await _something(api)
        schema = schemathesis.openapi.from_dict(document(make_app(api.site)))
        operations = [found.ok() for found in schema.get_all_operations() if isinstance(found, Ok)]
        return sum(
            [await asyncio.to_thread(_send, operation, mode, examples, api.url(""), known) for operation in operations]
        )


def _send(operation: Any, mode: schemathesis.GenerationMode, examples: int, url: str, known: dict[str, str]) -> int:
    sent = 0

    @settings(
        max_examples=examples,
        derandomize=True,
        deadline=None,
        database=None,
        phases=PHASES,
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode), there=st.booleans())
    def send(case: Any, there: bool) -> None:  # noqa: FBT001 - drawn
        nonlocal sent
        if there:
            case.path_parameters.update({name: known[name] for name in case.path_parameters if name in known})
        case.call_and_validate(base_url=url, checks=CHECKS, timeout=timedelta(seconds=20).total_seconds())
        sent += 1

    with contextlib.suppress(Unsatisfiable):  # nothing about it can be wrong
        send()
    return sent


async def _something(api: Api) -> dict[str, str]:
    """Put a job, a run and an event there; return what stands for them in addresses."""
    await api.apply(a=DAILY)
    run = uuid.uuid4()
    await api.db.execute(
        """INSERT INTO runs (id, tenant, job_id, job_version, job_name, flow_id, fired_at, state, pool, priority)
           SELECT $1, tenant, id, version, name, $1, now(), 'ready', 'default', 2 FROM jobs""",
        run,
    )
    event = (await api.post("/api/v1/events", {"topic": "orders"})).json["event_id"]
    return {"name": "a", "pool": "default", "run_id": str(run), "flow_id": str(run), "event_id": event}
