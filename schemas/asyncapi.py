"""The AsyncAPI 3 document of everything that others may say and hear over AMQP, and what our own parts say."""

import json
from typing import Any, Final

from pydantic.json_schema import models_json_schema

from schemas.feed import CONTENT_TYPE, FACTS, TYPE_PREFIX, CloudEvent
from schemas.messages_schema import PlainSchema

_TITLE: Final = "Scheduler over AMQP"
_AMQP: Final = "0.3.0"


def asyncapi() -> dict[str, Any]:
    """Return the document. Operations are ours: we send the feed and receive events."""
    _, found = models_json_schema([(CloudEvent, "validation")], schema_generator=PlainSchema)
    schemas = {"Event": _event(), **found["$defs"]}
    document = {
        "asyncapi": "3.0.0",
        "info": {"title": _TITLE, "version": "1", "description": _DESCRIPTION},
        "defaultContentType": "application/json",
        "channels": {"events": _EVENTS, "feed": _FEED, "internal": _INTERNAL},
        "operations": {
            name: {
                "action": action,
                "channel": {"$ref": f"#/channels/{channel}"},
                "summary": summary,
                "messages": [{"$ref": f"#/channels/{channel}/messages/{message}"}],
            }
            for name, action, channel, message, summary in _OPERATIONS
        },
        "components": {"messages": _messages(), "schemas": schemas},
    }
    moved: dict[str, Any] = json.loads(json.dumps(document).replace("#/$defs/", "#/components/schemas/"))
    return moved


_DESCRIPTION: Final = (
    "Publish events to `scheduler.events`, hear what happens on `scheduler.feed`. The other exchanges carry messages "
    "between our own processes: documented to be understood, not to be used."
)
_OPERATIONS: Final = (
    ("receiveEvent", "receive", "events", "event", "Something happened outside: triggers that wait for it fire."),
    ("sendFact", "send", "feed", "fact", "Something happened to a run or a firing."),
    ("sendInternal", "send", "internal", "internal", "Between our own processes."),
)


def _channel(exchange: str, kind: str, address: str | None, message: str, **more: Any) -> dict[str, Any]:
    described = {"is": "routingKey", "exchange": {"name": exchange, "type": kind, "durable": True}}
    return {
        "address": address,
        "messages": {message: {"$ref": f"#/components/messages/{message}"}},
        "bindings": {"amqp": {**described, "bindingVersion": _AMQP}},
        **more,
    }


_EVENTS: Final = _channel(
    "scheduler.events",
    "topic",
    "{tenant}.{topic}",
    "event",
    title="Events, open to publishers",
    parameters={
        "tenant": {"description": "Whose triggers may fire."},
        "topic": {"description": "Words with dots between them, as in orders.eu.created."},
    },
)
_FEED: Final = _channel(
    "scheduler.feed",
    "topic",
    "{tenant}.{fact}.{job}",
    "fact",
    title="The feed, open to readers: bind a queue of your own",
    parameters={
        "tenant": {"description": "Whose run or firing it is."},
        "fact": {"description": "What happened.", "enum": list(FACTS)},
        "job": {"description": "The job's name."},
    },
)
_INTERNAL: Final = _channel(
    "scheduler.*", "direct", None, "internal", title="Between our own processes", description="See topology.md."
)


_HEADERS: Final = {
    "type": "object",
    "properties": {
        "traceparent": {"type": "string", "description": "W3C trace context that what is started joins."},
        "x-scheduler-depth": {
            "type": "string",
            "pattern": "^[0-9]{1,4}$",
            "description": "How many runs led to it, as messages of `publish` jobs say.",
        },
    },
    "patternProperties": {"^cloudEvents[:_]": {"description": "An attribute of a CloudEvent in binary mode."}},
}


def _event() -> dict[str, Any]:
    """Return what a publisher may send: any JSON object, or a CloudEvent."""
    cloud = {
        "type": "object",
        "description": "CloudEvents 1.0, structured mode.",
        "required": ["specversion", "id", "source", "type"],
        "properties": {"specversion": {"const": "1.0"}, "data": {}}
        | {name: {"type": "string", "minLength": 1} for name in ("id", "source", "type")},
    }
    return {"title": "An event", "anyOf": [cloud, {"type": "object", "description": "Any object: it is the data."}]}


def _messages() -> dict[str, Any]:
    correlation = {"description": "The same each time a fact comes.", "location": "$message.payload#/id"}
    return {
        "event": {
            "title": "An event",
            "contentType": "application/json",
            "description": "Sent again, it is known by `id` and `source` of a CloudEvent, else by `message_id`, "
            "routing key and sender: `user_id`, else `app_id`.",
            "headers": _HEADERS,
            "payload": {"$ref": "#/components/schemas/Event"},
        },
        "fact": {
            "title": "A fact",
            "contentType": CONTENT_TYPE,
            "description": f"`type` is `{TYPE_PREFIX}` and the fact; `{TYPE_PREFIX}feed.begins` tells of none.",
            "correlationId": correlation,
            "payload": {"$ref": "#/components/schemas/CloudEvent"},
        },
        "internal": {
            "title": "An internal message, or a list of them",
            "contentType": "application/json",
            "payload": {"$ref": "messages.schema.json"},
        },
    }


if __name__ == "__main__":
    print(json.dumps(asyncapi(), indent=2, ensure_ascii=False))  # noqa: T201 - a script
