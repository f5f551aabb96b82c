"""What a run shares a limit with others by."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from scheduler.domain.limits import Limit, limit_of
from scheduler.domain.template_errors import TemplateError
from schemas.job_spec import JobSpec
from schemas.limit_spec import parse_rate


def limit(params: dict[str, Any] | None = None, **keys: Any) -> Limit | None:
    spec = JobSpec.model_validate({"run": {"command": ["true"]}, **keys})
    return limit_of(spec, job="copy", run_id=UUID(int=1), fired_at=datetime(2026, 1, 1, tzinfo=UTC), params=params)


def test_nothing_limits_an_ordinary_run() -> None:
    assert limit() is None


def test_key_is_filled_from_params_and_run() -> None:
    concurrency = {"key": "{{ params.host }}-{{ run.job }}", "limit": 3}

    assert limit(concurrency=concurrency, params={"host": "a"}) == Limit("key a-copy", 3)


def test_params_of_the_firing_come_before_those_of_the_job() -> None:
    spec = {"concurrency": {"key": "{{ params.host }}"}}

    assert limit({"host": "b"}, **spec) == limit({"host": "b"}, **spec, rate="1/s") == Limit("key b", 1)


def test_other_params_may_read_results() -> None:
    given = {"host": "a", "rows": "{{ results.load.rows }}"}
    spec = JobSpec.model_validate(
        {"run": {"command": ["true"]}, "params": given, "concurrency": {"key": "{{ params.host }}"}}
    )

    found = limit_of(spec, job="copy", run_id=UUID(int=1), fired_at=datetime(2026, 1, 1, tzinfo=UTC), params=None)

    assert found == Limit("key a", 1)


def test_rate_alone_is_a_line_of_the_job() -> None:
    assert limit(rate="100/m") == Limit("job copy", None)


@pytest.mark.parametrize("key", ["{{ params.missing }}", "x" * 256])
def test_key_that_cannot_be_is_an_error(key: str) -> None:
    with pytest.raises(TemplateError):
        limit(concurrency={"key": key})


@pytest.mark.parametrize(
    ("text", "every"), [("10/s", 0.1), ("100/m", 0.6), ("5/10m", 120.0), ("1/d", 86_400.0), ("2/h", 1800.0)]
)
def test_rate_is_spread_evenly(text: str, every: float) -> None:
    rate = parse_rate(text)

    assert (rate.every, str(rate)) == (timedelta(seconds=every), text)


@pytest.mark.parametrize("text", ["0/s", "5/0m", "5", "5/y", "-1/s", "1.5/s", "5 / m", ""])
def test_what_is_no_rate_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"rate|nothing"):
        parse_rate(text)
