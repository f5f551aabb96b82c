"""Examples of what operations answer and take, made from the OpenAPI document: none is forgotten, none is stale."""

from collections.abc import Mapping
from typing import Any, Final

_ID: Final = "0192f0c1-7a54-7c3e-9d55-2b7c8f0a6f11"
_AT: Final = "2026-03-01T02:00:00Z"
_DEEPEST: Final = 8
_REF: Final = "#/components/schemas/"
_KINDS: Final[Mapping[str, tuple[type, ...]]] = {
    "null": (type(None),), "string": (str,), "integer": (int,), "number": (int, float), "boolean": (bool,),
    "array": (list,), "object": (dict,),
}  # fmt: skip
_RUN: Final = {"command": ["pg_dump", "orders"]}
_BACKFILL: Final = {
    "id": _ID, "job": "dump", "state": "running", "first_at": _AT, "last_at": "2026-03-05T02:00:00Z", "count": 5,
    "started": 2, "created_at": "2026-03-06T09:00:00Z",
}  # fmt: skip
_CALENDAR: Final = {"name": "office", "version": 2, "source": "jobs", "spec": {"holidays": {"country": "DE"}}}

WHOLE: Final[Mapping[str, Any]] = {
    "read_backfill": _BACKFILL,
    "stop_backfill": _BACKFILL | {"state": "cancelled"},
    "export_definitions": {"version": 1, "tenant": "default", "jobs": {"dump": {"run": _RUN}}},
    "read_calendar": _CALENDAR,
    "read_metrics": 'scheduler_ready{tenant="default"} 1.0\n',
}
"""By operation, answers whose form the document leaves open."""

_VALUES: Final[Mapping[str, Any]] = {
    "job": "dump", "name": "dump", "pool": "default", "queue_limit": 100, "executor": "box-3f9a12bc",
    "description": "dumps the database", "source": "jobs", "tenant": "default", "zone": "Europe/Berlin",
    "wall_time": "2026-03-01T03:00:00", "trigger": "every-night", "key": "every-night", "kind": "time", "reason": None,
    "topic": "orders.eu.created", "verdict": "started", "state": "succeeded", "outcome": "succeeded",
    "spec": {"run": _RUN}, "params": {"day": "2026-03-01"}, "data": {"id": 7}, "exit_code": 0, "attempt": 1,
    "cursor": "88231-1204-1", "next": None, "priority": "normal", "head": "dumped\n", "tail": None, "done": "paused",
    "note": "the database moves", "wait": "30s", "specversion": "1.0", "type": "scheduler.run.succeeded",
    "datacontenttype": "application/json", "when": "success", "gate": "slots", "backfills": [_BACKFILL],
    "calendars": [_CALENDAR], "triggers": [], "troubles": [], "warnings": [], "errors": [], "trouble": None,
    "traceparent": "00-0192f0c17a547c3e9d552b7c8f0a6f11-9d552b7c8f0a6f10-00",
    "subject": _ID, "trace_id": "0192f0c17a547c3e9d552b7c8f0a6f11", "signal": None, "exception": None,
    "http_status": None, "limited_by": None, "elapsed_s": 12.4, "retry_of": None, "retried_by": None,
    "cancel_at": None, "cancel_reason": None, "discarded_at": None, "backfill_id": None, "held_by": None,
    "pause_note": None, "paused_at": None, "paused_by": None, "to_at": None, "held_until": None, "enabled": True,
    "active": True, "result": None, "metrics": None,
}  # fmt: skip
"""By the name of a key, what is likely there."""


def add_examples(document: Mapping[str, Any], operation: Mapping[str, Any]) -> None:
    """Give every JSON answer of ``operation`` an example, and its body where it has none."""
    make = _Maker(document["components"]["schemas"])
    for status, response in operation["responses"].items():
        said = response.get("content", {}).get("application/json") if status.startswith("2") else None
        if said is not None and "examples" not in said:
            whole = WHOLE.get(operation["operationId"])
            said.setdefault("example", make.example(said.get("schema", {})) if whole is None else whole)
    for given in operation.get("requestBody", {}).get("content", {}).values():
        if "example" not in given and "examples" not in given and "examples" not in given["schema"]:
            given["example"] = make.example(given["schema"])


class _Maker:
    def __init__(self, schemas: Mapping[str, Any]) -> None:
        self._schemas = schemas

    def example(self, schema: Mapping[str, Any], name: str = "", depth: int = 0) -> Any:
        """Return a value that fits ``schema``; ``name`` is the key that it stands under."""
        if "$ref" in schema:
            return self.example(self._schemas[schema["$ref"].removeprefix(_REF)], name, depth)
        if "examples" in schema:
            return schema["examples"][0]
        choices = schema.get("anyOf") or schema.get("oneOf")
        if name in _VALUES and self._fits(_VALUES[name], schema, choices):
            return _VALUES[name]
        for key in ("const", "enum"):
            if key in schema:
                return schema[key] if key == "const" else schema[key][0]
        if schema.get("default") is not None:
            return schema["default"]
        return self.example(choices[0], name, depth) if choices else self._plain(schema, depth)

    def _plain(self, schema: Mapping[str, Any], depth: int) -> Any:
        match schema.get("type"):
            case "object":
                parts = schema.get("properties", {}) if depth < _DEEPEST else {}
                return {key: self.example(part, key, depth + 1) for key, part in parts.items()}
            case "array":
                items = schema.get("items", {})
                return [self.example(items, "", depth + 1)] if items.get("type") != "object" else []
            case "string":
                return {"uuid": _ID, "date-time": _AT}.get(schema.get("format", ""), "text")
            case "integer" | "number":
                return max(1, schema.get("minimum", 1))
            case "boolean":
                return False
        return None

    def _fits(self, value: Any, schema: Mapping[str, Any], choices: Any) -> bool:
        """Return whether a value that is likely is one that may be."""
        if choices:
            return any(self._fits(value, self._schemas.get(part.get("$ref", "")[len(_REF) :], part), None)
                       for part in choices)  # fmt: skip
        if "enum" in schema:
            return value in schema["enum"]
        if "const" in schema:
            return bool(value == schema["const"])
        if "properties" in schema:
            return False
        kind = schema.get("type")
        return kind is None or (isinstance(value, _KINDS[kind]) and "format" not in schema)
