"""What messages of publishers say, and by what they are known when they come again."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from scheduler.domain.published import Published, RawMessage, read_published

CLOUD = {"specversion": "1.0", "id": "1", "source": "/s", "type": "t"}


def read(body: Any = None, key: str = "default.a.b", **fields: Any) -> Published:
    raw = body if isinstance(body, bytes) else json.dumps({} if body is None else body).encode()
    words: dict[str, Any] = {"content_type": None, "message_id": None, "sender": None, "headers": {}}
    return read_published(RawMessage(exchange="scheduler.events", key=key, body=raw, **(words | fields)))


def test_any_object_is_an_event_of_the_tenant_in_its_key() -> None:
    said = read({"n": 1}, headers={"source": "ui", "list": [1], "nan": float("nan")})

    assert (said.tenant, said.topic, said.data, said.key, said.problem) == ("default", "a.b", {"n": 1}, None, None)
    assert said.headers == {"source": "ui"}, "only what is plain"


def test_an_id_belongs_to_its_sender_and_its_topic() -> None:
    first = read(message_id="1")

    assert first.key is not None
    assert first.key == read({"other": "body"}, message_id="1").key
    different = [read(message_id="2"), read(message_id="1", sender="u"), read(message_id="1", key="default.a.c")]
    assert first.key not in {one.key for one in different}


def test_without_an_id_it_is_known_by_all_of_its_content() -> None:
    first = read({"n": 1})

    assert first.content == read({"n": 1}).content
    others = [read({"n": 2}), read({"n": 1}, key="default.a.c"), read({"n": 1}, headers={"x": 1})]
    assert first.content not in {one.content for one in others}


@pytest.mark.parametrize("kind", ["application/cloudevents+json; charset=utf-8", None, "application/json"])
def test_a_cloud_event_is_known_by_its_attributes_or_its_content_type(kind: str | None) -> None:
    body = CLOUD | {"data": {"n": 1}, "subject": "s", "time": "2026-03-01T02:00:00z", "region": "eu"}
    said = read(body, content_type=kind, message_id="m")

    assert (said.data, said.subject, said.sender_id) == ({"n": 1}, "s", "1")
    assert said.occurred_at is not None
    assert said.occurred_at.isoformat() == "2026-03-01T02:00:00+00:00"
    assert said.headers == {"ce_specversion": "1.0", "ce_source": "/s", "ce_type": "t", "ce_region": "eu"}
    assert said.key == read(body, key="default.elsewhere").key, "source and id are the identity"


@pytest.mark.parametrize("begin", ["cloudEvents:", "cloudEvents_"])
def test_a_cloud_event_may_have_its_attributes_in_headers_and_its_data_as_body(begin: str) -> None:
    structured = read(CLOUD | {"data": {"n": 1}, "region": "eu"})
    sent = {f"{begin}{name}": value for name, value in (CLOUD | {"region": "eu"}).items()}
    said = read({"n": 1}, headers=sent | {f"{begin}time": datetime(2026, 3, 1, tzinfo=UTC)}, message_id="m")

    assert (said.data, said.sender_id, said.headers) == ({"n": 1}, "1", structured.headers)
    assert said.key == structured.key, "both are the same event"
    assert said.occurred_at == datetime(2026, 3, 1, tzinfo=UTC)
    lacking = read({}, headers={f"{begin}id": "1", f"{begin}source": 7, f"{begin}data_base64": "e30="})
    assert lacking.problem == "a CloudEvent without specversion, source, type"


@pytest.mark.parametrize(
    ("body", "kind", "problem"),
    [
        ({"id": "1"}, "application/cloudevents+json", "a CloudEvent without specversion, source, type"),
        ([], "application/cloudevents-batch+json", "a JSON array"),
        ({}, "application/cloudevents-batch+json", "a batch of CloudEvents"),
        (CLOUD | {"specversion": "0.3"}, "application/cloudevents+json", "only 1.0 is read"),
        (CLOUD | {"data": 1, "data_base64": "eA=="}, None, "data and data_base64"),
        (CLOUD | {"subject": 1}, None, "subject of a CloudEvent is text"),
        (CLOUD | {"time": "yesterday"}, None, "as in RFC 3339, not 'yesterday'"),
        (CLOUD | {"id": "x" * 2000}, None, "more than 1024 characters"),
    ],
)
def test_a_wrong_cloud_event_is_none(body: Any, kind: str | None, problem: str) -> None:
    said = read(body, content_type=kind)

    assert problem in (said.problem or "")
    assert (said.data, said.key) == (None, None)


@pytest.mark.parametrize("key", ["", "default", "default.", ".a", "Default.a", "default.\0"])
def test_a_key_that_names_no_tenant_and_topic_is_on_record_at_the_operator(key: str) -> None:
    said = read(key=key, message_id="\0\ud800")

    assert said.tenant == "default"
    assert "the routing key must be <tenant>.<topic>" in (said.problem or "")
    assert "\0" not in f"{said.topic}{said.sender_id}"
