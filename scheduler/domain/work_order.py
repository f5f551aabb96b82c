"""Makes the work order of an attempt out of the stored definition: templates filled, nothing else added."""

import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Literal
from uuid import UUID

from scheduler.domain.file_names import has_bytes
from scheduler.domain.template import render_native, render_text
from scheduler.domain.template_scope import EVENT, SECRETS
from scheduler.domain.template_values import SecretMark
from schemas.job_spec import JobSpec, ResourcesSpec
from schemas.message import AwareDatetime
from schemas.run_spec import HttpSpec, PublishSpec
from schemas.vocabulary import EventSource
from schemas.work import (
    Circuit,
    CommandWork,
    HandlerWork,
    HttpWork,
    PublishWork,
    PythonWork,
    ResourceLimits,
    ScriptWork,
    TimeLimits,
    Work,
    WorkOrder,
)


@dataclass(frozen=True, slots=True)
class RunFacts:
    """What of a run a work order is made from."""

    id: UUID
    job_name: str
    job_version: int
    flow_id: UUID
    fired_at: AwareDatetime
    attempt: int
    params: Mapping[str, Any] | None
    """What the firing brought: literal, and over the job's own."""
    losses: int = 0
    """Attempts of the run that were lost so far."""
    depth: int = 1
    """How many runs, one after the other, led to what it causes: itself, and those before it."""


def make_order(
    spec: JobSpec, run: RunFacts, results: Mapping[str, Any], event: Mapping[str, Any] | None = None
) -> WorkOrder:
    """Return the work order of the present attempt of ``run``; ``event`` is what has started its flow, if one has.

    Raises:
        TemplateError: a template cannot be filled, a result it reads is missing, say.
        ValueError: the params are not what params_schema allows.
    """
    scope: dict[str, Any] = {
        "run": {"id": str(run.id), "job": run.job_name, "attempt": run.attempt, "fired_at": run.fired_at.isoformat()},
        "results": dict(results),
    }
    if event is not None:
        scope[EVENT] = event
    params = {**render_native(spec.params, scope), **(run.params or {})}
    scope["params"] = params
    _check_params(spec, params)
    timeout = spec.timeout
    return WorkOrder(
        job=run.job_name,
        job_version=run.job_version,
        flow_id=run.flow_id,
        work=_work(spec, scope, run.depth),
        params=params,
        results=dict(results),
        env={name: render_text(value, scope) for name, value in spec.env.items()},
        secrets=spec.secrets,
        cwd=spec.cwd,
        limits=TimeLimits(
            soft_s=timeout.soft.total_seconds() if timeout.soft is not None else None,
            hard_s=timeout.hard.total_seconds(),
            grace_s=timeout.grace.total_seconds(),
        ),
        labels=spec.labels,
        on_lost_contact=spec.on_lost_contact,
        resources=None if spec.resources is None else _limits(spec.resources),
        isolation=_isolation(spec, run.losses),
        max_runs_per_process=spec.max_runs_per_process,
        fired_at=run.fired_at,
        names_as_bytes=event is not None and _has_bytes(event),
    )


def _has_bytes(event: Mapping[str, Any]) -> bool:
    """Whether ``event`` is of a file whose name is no UTF-8."""
    return event.get("source") == EventSource.FILE and has_bytes(json.dumps(event["data"], ensure_ascii=False))


def _check_params(spec: JobSpec, params: Mapping[str, Any]) -> None:
    if spec.params_schema is not None:
        from scheduler.domain.params_check import find_wrong_params, show_wrong_params

        if wrong := find_wrong_params(spec.params_schema, params):
            raise ValueError("; ".join(show_wrong_params(wrong)))


def _limits(resources: ResourcesSpec) -> ResourceLimits:
    return ResourceLimits(
        cpu=resources.cpu,
        memory_bytes=resources.memory,
        pids=resources.pids,
        file_bytes=resources.file_size,
        disk_bytes=resources.disk,
        io=resources.io,
        network=resources.network,
    )


def _isolation(spec: JobSpec, losses: int) -> Literal["inline", "thread", "process", "sandbox"] | None:
    """Return where the attempt runs. A handler that may have ended its executor gets a process of its own to end."""
    crashed = losses > 0 and spec.run.handler is not None and spec.isolation != "sandbox"
    return "process" if crashed else spec.isolation


def _work(spec: JobSpec, scope: Mapping[str, Any], depth: int) -> Work:
    run = spec.run
    if run.handler is not None:
        return HandlerWork(kind="handler", name=run.handler)
    if run.command is not None:
        return CommandWork(kind="command", argv=tuple(render_text(element, scope) for element in run.command))
    if run.python is not None:
        return PythonWork(kind="python", target=run.python)
    if run.script is not None:
        return ScriptWork(kind="script", file=run.script.file, text=run.script.text, interpreter=run.script.interpreter)
    if run.publish is not None:
        return _publish_work(run.publish, scope, depth)
    if run.http is None:
        raise ValueError("a run without a kind")
    return _http_work(run.http, spec.secrets, scope, depth)


def _publish_work(publish: PublishSpec, scope: Mapping[str, Any], depth: int) -> PublishWork:
    return PublishWork(
        kind="publish",
        exchange=publish.exchange,
        routing_key=render_text(publish.routing_key, scope),
        json_body=render_native(publish.json_body, scope),
        text=None if publish.text is None else render_text(publish.text, scope),
        headers={name: render_text(value, scope) for name, value in publish.headers.items()},
        depth=depth,
    )


def _http_work(http: HttpSpec, secrets: Collection[str], scope: Mapping[str, Any], depth: int) -> HttpWork:
    """Fill a request. A mark that is a digest of all that is filled in cannot occur in it: nobody can forge one."""
    mark = f"secret {hashlib.sha256(json.dumps(scope, sort_keys=True).encode()).hexdigest()[:32]}" if secrets else None
    scope = {**scope, SECRETS: {name: SecretMark(f"<{mark} {name}>") for name in secrets}}
    return HttpWork(
        kind="http",
        method=http.method,
        url=render_text(http.url, scope),
        headers={name: render_text(value, scope) for name, value in http.headers.items()},
        json_body=render_native(http.json_body, scope),
        body=None if http.body is None else render_text(http.body, scope),
        secret_mark=mark,
        sign_with=http.sign_with,
        redirects=http.redirects,
        circuit=_circuit(http),
        depth=depth,
    )


def _circuit(http: HttpSpec) -> Circuit | None:
    if http.breaker is None or http.circuit is None:
        return None
    breaker = http.breaker
    return Circuit(target=http.circuit, failures=breaker.failures, open_s=breaker.open_for.total_seconds())
