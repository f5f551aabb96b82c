"""What a publish run may send, as a file says it and as an executor is told."""

import json
import uuid
from typing import Any

import pytest
from pydantic import ValidationError

from scheduler.domain.causation import DEPTH_HEADER
from scheduler.ports import AttemptContext
from scheduler.sandbox.environment import UnusableOrderError
from scheduler.sandbox.publish_run import make_letter
from schemas.run_spec import PublishSpec
from schemas.work import PublishWork

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
CONTEXT = AttemptContext(tenant="acme", run_id=uuid.uuid4(), attempt=2, lease_token=uuid.uuid4())


def work(**fields: Any) -> PublishWork:
    return PublishWork.model_validate({"kind": "publish", "exchange": "alerts", "routing_key": "a.b", **fields})


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"exchange": "scheduler.settled"}, "only to scheduler.events"),
        ({"exchange": "scheduler.feed"}, "only to scheduler.events"),
        ({"exchange": ""}, "the default exchange"),
        ({"exchange": "amq.default"}, "the default exchange"),
        ({"exchange": "scheduler.events", "routing_key": "other.orders"}, "begins with the job's tenant: acme."),
        ({"exchange": "scheduler.events", "routing_key": "acmes.orders"}, "begins with the job's tenant"),
        ({"routing_key": "\u20ac" * 100}, "more than 255 bytes"),
        ({"headers": {"CC": "x"}}, "cannot be a header"),
        ({"headers": {"Bcc": "x"}}, "cannot be a header"),
    ],
)
def test_what_would_reach_further_is_refused(fields: dict[str, Any], said: str) -> None:
    """The executor looks again at what was filled in, and at what an older or foreign order says."""
    with pytest.raises(UnusableOrderError, match=said):
        make_letter(work(**fields), CONTEXT, TRACE)


def test_a_letter_is_one_message_for_all_attempts_of_a_run() -> None:
    event = work(exchange="scheduler.events", routing_key="acme.x", json_body={"a": [1]}, depth=3)
    letter = make_letter(event, CONTEXT, TRACE)
    text = make_letter(work(text="é", headers={"h": "1", DEPTH_HEADER: "0"}), CONTEXT, TRACE)

    assert (json.loads(letter.body), letter.content_type) == ({"a": [1]}, "application/json")
    assert letter.headers == {"traceparent": TRACE, DEPTH_HEADER: "3"}
    assert (text.body, text.content_type) == ("é".encode(), "text/plain")
    assert text.headers == {"h": "1", "traceparent": TRACE, DEPTH_HEADER: "1"}, "how long the chain is, no job says"
    assert letter.message_id == text.message_id == str(CONTEXT.run_id)


def test_a_trace_of_the_jobs_own_stays() -> None:
    headers = make_letter(work(headers={"Traceparent": "x"}), CONTEXT, TRACE).headers
    assert headers == {"Traceparent": "x", DEPTH_HEADER: "1"}


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"exchange": "scheduler.offers"}, "the scheduler's own"),
        ({"exchange": "{{ params.x }}"}, "not the name of an exchange"),
        ({"exchange": "amq.default"}, "not the name of an exchange"),
        ({"exchange": ""}, "at least 1"),
        ({"exchange": "a", "json": {}, "text": ""}, "json or text, not both"),
        ({"exchange": "a", "headers": {"bcc": "x"}}, "routing_key only"),
    ],
)
def test_a_file_is_told_what_may_be_published(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        PublishSpec.model_validate(fields)
