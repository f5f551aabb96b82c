"""What a run shares a limit with others by: its concurrency key, or the rate of its job."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from scheduler.domain.template import render_native, render_text
from scheduler.domain.template_errors import TemplateError
from schemas.job_spec import JobSpec

MAX_KEY_CHARS: Final = 255


@dataclass(frozen=True, slots=True)
class Limit:
    """``key`` is what rows are counted by; at most ``most`` may be queued or running, None: only a rate holds."""

    key: str
    most: int | None = None


def limit_of(
    spec: JobSpec, *, job: str, run_id: UUID, fired_at: datetime, params: Mapping[str, Any] | None
) -> Limit | None:
    """Return what limits a run of ``job``; None: nothing does. ``params``: what its firing brought, literal.

    A param that reads results is not there yet: the key cannot name it.

    Raises:
        TemplateError: the key cannot be filled, or is longer than MAX_KEY_CHARS.
    """
    if spec.concurrency is None:
        return Limit(f"job {job}") if spec.rate is not None else None
    facts = {"id": str(run_id), "job": job, "attempt": 1, "fired_at": fired_at.isoformat()}
    key = _filled("concurrency.key", spec.concurrency.key, spec, facts, params)
    return Limit(f"key {key}", spec.concurrency.limit)


def unique_key_of(
    spec: JobSpec, *, job: str, run_id: UUID, fired_at: datetime, params: Mapping[str, Any] | None
) -> str | None:
    """Return what a run of ``job`` must not share with one shortly before it; None: nothing. As ``limit_of``."""
    if spec.unique is None:
        return None
    facts = {"id": str(run_id), "job": job, "attempt": 1, "fired_at": fired_at.isoformat()}
    return _filled("unique.key", spec.unique.key, spec, facts, params)


def _filled(name: str, template: str, spec: JobSpec, run: Mapping[str, Any], params: Mapping[str, Any] | None) -> str:
    key = template
    try:
        if "{{" in template:
            key = render_text(template, {"run": run, "params": {**_early(spec.params, run), **(params or {})}})
    except TemplateError as error:
        raise TemplateError(f"{name} cannot be filled: {error}") from None
    if len(key) > MAX_KEY_CHARS:
        raise TemplateError(f"{name} has {len(key)} characters, at most {MAX_KEY_CHARS} are allowed")
    return key


def _early(params: Mapping[str, Any], run: Mapping[str, Any]) -> dict[str, Any]:
    """Fill the params that can be filled before anything upstream has ended."""
    found: dict[str, Any] = {}
    for name, value in params.items():
        try:
            found[name] = render_native(value, {"run": run})
        except TemplateError:
            continue
    return found
