"""What a work order says beyond the definition."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from uuid import UUID

import pytest

from scheduler.domain.work_order import make_order
from schemas.job_spec import JobSpec


@dataclass(frozen=True)
class Run:
    losses: int
    id: UUID = field(default_factory=lambda: UUID(int=1))
    job_name: str = "a"
    job_version: int = 1
    flow_id: UUID = field(default_factory=lambda: UUID(int=2))
    fired_at: datetime = datetime(2026, 3, 1, tzinfo=UTC)
    attempt: int = 3
    params: None = None
    depth: int = 1


@pytest.mark.parametrize(
    ("source", "path", "wanted"),
    [("file", "/in/caf\U000fdce9", True), ("file", "/in/café", False), ("amqp", "/in/caf\U000fdce9", False)],
)
def test_only_a_name_of_a_file_that_is_no_utf_8_becomes_bytes_again(source: str, path: str, *, wanted: bool) -> None:
    spec = JobSpec.model_validate({"run": {"command": ["cat", "{{ event.data.path }}"]}})

    order = make_order(spec, Run(losses=0), {}, {"source": source, "data": {"path": path}})

    assert order.names_as_bytes is wanted


@pytest.mark.parametrize(
    ("run", "isolation", "losses", "wanted"),
    [
        ({"handler": "x"}, None, 0, None),
        ({"handler": "x"}, "inline", 0, "inline"),
        ({"handler": "x"}, None, 1, "process"),
        ({"handler": "x"}, "inline", 2, "process"),
        ({"handler": "x"}, "thread", 1, "process"),
        ({"handler": "x"}, "sandbox", 1, "sandbox"),
        ({"command": ["true"]}, None, 1, None),
        ({"http": {"method": "GET", "url": "https://example.com"}}, None, 1, None),
    ],
)
def test_handler_has_a_process_of_its_own_after_a_loss(
    run: dict[str, object], isolation: str | None, losses: int, wanted: str | None
) -> None:
    spec = JobSpec.model_validate({"run": run} | ({} if isolation is None else {"isolation": isolation}))

    assert wanted == make_order(spec, Run(losses), {}).isolation
