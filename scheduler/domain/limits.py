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
    run = {"id": str(run_id), "job": job, "attempt": 1, "fired_at": fired_at.isoformat()}
    key = spec.concurrency.key
    if "{{" in key:
        key = render_text(key, {"run": run, "params": {**_early(spec.params, run), **(params or {})}})
    if len(key) > MAX_KEY_CHARS:
        raise TemplateError(f"concurrency.key has {len(key)} characters, at most {MAX_KEY_CHARS} are allowed")
    return Limit(f"key {key}", spec.concurrency.limit)


def _early(params: Mapping[str, Any], run: Mapping[str, Any]) -> dict[str, Any]:
    """Fill the params that can be filled before anything upstream has ended."""
    found: dict[str, Any] = {}
    for name, value in params.items():
        try:
            found[name] = render_native(value, {"run": run})
        except TemplateError:
            continue
    return found
