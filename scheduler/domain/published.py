"""A message of a publisher → an event, or why it is none. Any JSON object, or a CloudEvent (1.0)."""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final

from scheduler.domain.strict_json import read_object
from schemas.event_trigger import MAX_TOPIC_BYTES
from schemas.json_values import check_json

OPERATOR: Final = "default"
"""Whose record has the messages that are for nobody else."""
UNREADABLE: Final = "x-unreadable"
"""The header by which a transport says that the properties could not be read, and why."""
_TENANT: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
_CLOUD_EVENTS: Final = "application/cloudevents"
_BATCH: Final = "application/cloudevents-batch"
_BINARY: Final = ("cloudEvents:", "cloudEvents_")
"""How the headers begin that are attributes of a CloudEvent whose data are the body."""
_REQUIRED: Final = ("specversion", "id", "source", "type")
_OWN_KEYS: Final = frozenset({"id", "time", "subject", "data", "data_base64"})
_MAX_ID_CHARS: Final = 1024
_UNSTORABLE: Final = re.compile("[\0\ud800-\udfff]")


@dataclass(frozen=True, slots=True, kw_only=True)
class RawMessage:
    """What the broker gives."""

    exchange: str
    key: str
    body: bytes
    content_type: str | None
    message_id: str | None
    sender: str | None
    headers: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """What a message says. With a ``problem`` it is no event, and there is no data."""

    tenant: str
    topic: str
    content: str
    """A digest of all of the message, for one without an id of its own."""
    key: str | None
    """What it is known by when its sender sends it again; None: it has no id, or is no event."""
    sender_id: str | None = None
    subject: str | None = None
    headers: Mapping[str, Any] | None = None
    occurred_at: datetime | None = None
    data: Any = None
    problem: str | None = None

    def for_nobody(self, problem: str) -> "Published":
        """Return what the operator's record has of a message that is for no tenant."""
        return Published(
            tenant=OPERATOR,
            topic=f"{self.tenant}.{self.topic}",
            content=self.content,
            key=None,
            sender_id=self.sender_id,
            problem=problem,
        )


def read_published(message: RawMessage) -> Published:
    """Return the event that ``message`` is, or why it is none. Never raises."""
    tenant, dot, topic = message.key.partition(".")
    facts: dict[str, Any] = {"content": _digest(message), "sender_id": _clean(message.message_id)}
    if not dot or not topic or not _TENANT.fullmatch(tenant) or _UNSTORABLE.search(topic):
        problem = f"the routing key must be <tenant>.<topic>, not {message.key[:MAX_TOPIC_BYTES]!r}"
        return Published(tenant=OPERATOR, topic=_clean(message.key) or "", key=None, problem=problem, **facts)
    try:
        if UNREADABLE in message.headers:
            raise ValueError(f"its properties cannot be read: {message.headers[UNREADABLE]}")
        value = read_object(message.body)
        if attributes := _attributes(message.headers):
            rest = {name: item for name, item in message.headers.items() if not name.startswith(_BINARY)}
            message = replace(message, content_type=_CLOUD_EVENTS, headers=rest)
            value = attributes | {"data": value}
        if _is_cloud_event(message.content_type, value):
            return _cloud_event(tenant, topic, value, message, facts["content"])
    except ValueError as error:
        return Published(tenant=tenant, topic=topic, key=None, problem=str(error), **facts)
    key = _key("message", message.sender or "", message.exchange, message.key, message.message_id)
    return Published(tenant=tenant, topic=topic, key=key, data=value, headers=_plain(message.headers), **facts)


def _attributes(headers: Mapping[str, Any]) -> dict[str, Any]:
    """Return the attributes of a CloudEvent in binary mode; empty: it is none."""
    found = {name[len(_BINARY[0]) :]: item for name, item in headers.items() if name.startswith(_BINARY)}
    found.pop("data_base64", None)
    return _plain({name: item.isoformat() if isinstance(item, datetime) else item for name, item in found.items()})


def _is_cloud_event(content_type: str | None, value: Mapping[str, Any]) -> bool:
    """Whether it says to be one, or looks like one to the last required attribute.

    Raises:
        ValueError: it says to be one and lacks an attribute.
    """
    kind = (content_type or "").strip().lower()
    if kind.startswith(_BATCH):
        raise ValueError("a batch of CloudEvents; send each in a message of its own")
    missing = [name for name in _REQUIRED if not isinstance(value.get(name), str) or not value[name]]
    if kind.startswith(_CLOUD_EVENTS) and missing:
        raise ValueError(f"a CloudEvent without {', '.join(missing)}")
    return not missing and (kind.startswith(_CLOUD_EVENTS) or value["specversion"] == "1.0")


def _cloud_event(tenant: str, topic: str, value: Mapping[str, Any], message: RawMessage, content: str) -> Published:
    """Read a CloudEvent; its attributes are the event's headers, under ``ce_<name>``.

    Raises:
        ValueError: an attribute is wrong.
    """
    if value["specversion"] != "1.0":
        raise ValueError(f"a CloudEvent of specversion {value['specversion'][:16]!r}; only 1.0 is read")
    if len(value["id"]) > _MAX_ID_CHARS or len(value["source"]) > _MAX_ID_CHARS:
        raise ValueError(f"a CloudEvent whose id or source has more than {_MAX_ID_CHARS} characters")
    if "data" in value and "data_base64" in value:
        raise ValueError("a CloudEvent with data and data_base64; it has one of them")
    subject = value.get("subject")
    if subject is not None and not isinstance(subject, str):
        raise ValueError("the subject of a CloudEvent is text")
    attributes = {f"ce_{name}": item for name, item in value.items() if name not in _OWN_KEYS}
    return Published(
        tenant=tenant,
        topic=topic,
        content=content,
        key=_key("cloudevent", value["source"], value["id"]),
        sender_id=value["id"],
        subject=subject,
        headers={**_plain(message.headers), **attributes},
        occurred_at=_time(value.get("time")),
        data=value["data_base64"] if "data_base64" in value else value.get("data"),
    )


def _time(text: Any) -> datetime | None:
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text.upper())
        return moment.astimezone(UTC) if moment.tzinfo is not None else None
    except (AttributeError, ValueError, OverflowError):
        raise ValueError(f"the time of a CloudEvent is as in RFC 3339, not {str(text)[:64]!r}") from None


def _plain(headers: Mapping[str, Any]) -> dict[str, Any]:
    """Return the headers that are text, numbers or truth values."""
    kept = {}
    for name, value in headers.items():
        if value is not None and not isinstance(value, str | int | float):
            continue
        try:
            check_json({name: value})
        except ValueError:
            continue
        kept[name] = value
    return kept


def _key(kind: str, *parts: str | None) -> str | None:
    """Return what names the sender's id; None where it gave none. A digest: any text, any length."""
    if not parts[-1]:
        return None
    return f"{kind}:{hashlib.sha256(json.dumps(parts).encode()).hexdigest()}"


def _digest(message: RawMessage) -> str:
    headers = sorted((name, repr(value)) for name, value in message.headers.items())
    rest = json.dumps([message.exchange, message.key, headers]).encode()
    return hashlib.sha256(rest + b"\0" + message.body).hexdigest()


def _clean(text: str | None) -> str | None:
    return None if not text else _UNSTORABLE.sub("\N{REPLACEMENT CHARACTER}", text)[:_MAX_ID_CHARS]
