"""What validation lets a template name is what the work order fills in."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from uuid import UUID

import pytest
from pydantic import ValidationError

from scheduler.definitions.template_checks import check_templates
from scheduler.domain.template_errors import TemplateError
from scheduler.domain.template_scope import EVENT_NAMES, RUN_NAMES, SCOPE_NAMES
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
    losses: int = 0
    params: None = None
    depth: int = 1


@pytest.mark.parametrize(
    "name", [*SCOPE_NAMES, *(f"run.{name}" for name in RUN_NAMES), *(f"event.{name}" for name in EVENT_NAMES)]
)
def test_every_allowed_name_is_filled(name):
    spec = JobSpec.model_validate({"run": {"command": ["echo", f"{{{{ {name} }}}}"]}})
    assert make_order(spec, Run(), {}, dict.fromkeys(EVENT_NAMES, "x")).work.argv[1]


def test_a_secret_is_a_mark_that_nothing_filled_in_can_hold():
    http = {"url": "https://a.example/{{ secrets.A }}", "json": ["{{ secrets.A }}", "{{ params.x }}"]}
    spec = JobSpec.model_validate(
        {"run": {"http": http}, "params": {"x": "<secret A>"}, "secrets": {"A": {"env": "A"}}}
    )

    order = make_order(spec, Run(), {})

    mark = f"<{order.work.secret_mark} A>"
    assert (order.work.url, order.work.json_body) == (f"https://a.example/{mark}", [mark, "<secret A>"])
    other = spec.model_copy(update={"params": {"x": mark}})
    assert make_order(other, Run(), {}).work.secret_mark != order.work.secret_mark


@pytest.mark.parametrize(
    "expression", ["secrets.A | upper", "secrets.A | trim", "secrets.B", "secrets.A | replace('s', '')"]
)
def test_a_secret_is_put_in_as_it_is_or_not_at_all(expression):
    http = {"url": f"https://a.example/{{{{ {expression} }}}}"}
    spec = JobSpec.model_validate({"run": {"http": http}, "secrets": {"A": {"env": "A"}}})

    with pytest.raises(TemplateError):
        make_order(spec, Run(), {})


@pytest.mark.parametrize(
    ("run", "message"),
    [
        ({"http": {"url": "https://a.example/{{ secrets.A }}"}}, None),
        ({"http": {"url": "https://a.example/{{ secrets.B }}"}}, "secrets.B is not defined"),
        ({"http": {"url": "https://a.example/{{ secrets }}"}}, "write secrets and the name of one"),
        ({"command": ["echo", "{{ secrets.A }}"]}, "other runs find it in their environment"),
    ],
)
def test_validation_knows_where_secrets_are_filled(run, message):
    spec = JobSpec.model_validate({"run": run, "secrets": {"A": {"env": "A"}}})

    found = [text for _, text in check_templates(spec)]

    assert found == [] if message is None else message in found[0]


def test_the_secret_that_signs_must_be_there():
    run = {"http": {"url": "https://a.example", "sign_with": "B"}}
    with pytest.raises(ValidationError, match="sign_with names B"):
        JobSpec.model_validate({"run": run, "secrets": {"A": {"env": "A"}}})
    run["http"] |= {"sign_with": "A", "headers": {"Webhook-Id": "1"}}
    with pytest.raises(ValidationError, match="webhook-id"):
        JobSpec.model_validate({"run": run, "secrets": {"A": {"env": "A"}}})
