"""What validation lets a template name is what the work order fills in."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from uuid import UUID

import pytest

from scheduler.domain.template_scope import RUN_NAMES, SCOPE_NAMES
from scheduler.domain.work_order import make_order
from schemas.job_spec import JobSpec


@dataclass
class Run:
    id: UUID = field(default_factory=lambda: UUID(int=1))
    job_name: str = "a"
    job_version: int = 1
    flow_id: UUID = field(default_factory=lambda: UUID(int=2))
    fired_at: datetime = datetime(2026, 3, 1, tzinfo=UTC)
    attempt: int = 1
    params: None = None


@pytest.mark.parametrize("name", [*SCOPE_NAMES, *(f"run.{name}" for name in RUN_NAMES)])
def test_every_allowed_name_is_filled(name):
    spec = JobSpec.model_validate({"run": {"command": ["echo", f"{{{{ {name} }}}}"]}})
    assert make_order(spec, Run(), {}).work.argv[1]
