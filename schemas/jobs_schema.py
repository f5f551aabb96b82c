"""JSON Schema of the definitions file, for editors; kept as docs/jobs.schema.json."""

import json
import sys
from typing import Any, Final

from pydantic.json_schema import models_json_schema

from schemas.definitions_file import DefinitionsFile
from schemas.job_spec import JobSpec

DRAFT: Final = "http://json-schema.org/draft-07/schema#"

_EXAMPLE: Final[dict[str, Any]] = {
    "version": 1,
    "jobs": {
        "dump-db": {
            "run": {"command": ["pg_dump", "-Fc", "-f", "{{ params.out }}", "orders"]},
            "params": {"out": "/backup/orders.dump"},
            "triggers": [{"cron": "0 2 * * *", "timezone": "Asia/Tokyo"}],
        },
        "verify": {"run": {"python": "backup_jobs:verify"}, "needs": ["dump-db"]},
    },
}


def jobs_schema() -> dict[str, Any]:
    """Return the schema: draft 07, no unknown keys, a description for each key.

    It accepts every file that the loader accepts. The loader refuses more: names that do not
    exist, cycles, expressions that never fire, jobs without ``run``, which defaults may give.
    """
    _, top = models_json_schema(
        [(DefinitionsFile, "validation"), (JobSpec, "validation")], ref_template="#/definitions/{model}"
    )
    definitions: dict[str, Any] = top["$defs"]
    file = definitions.pop("DefinitionsFile")
    _shorthand(definitions)
    job = {"$ref": "#/definitions/JobSpec"}
    file["properties"]["jobs"] |= {"maxProperties": 10_000}
    pattern = file["properties"]["jobs"].pop("patternProperties")
    file["properties"]["jobs"]["patternProperties"] = dict.fromkeys(pattern, job)
    file["properties"]["defaults"] = {"description": file["properties"]["defaults"]["description"], "allOf": [job]}
    file["title"] = "Job definitions"
    schema = {"$schema": DRAFT, **file, "examples": [_EXAMPLE], "definitions": definitions}
    tidied: dict[str, Any] = _tidy(schema)
    return tidied


def _shorthand(definitions: dict[str, Any]) -> None:
    """Say what the models read beside their own form."""
    job = definitions["JobSpec"]
    job.pop("required")
    properties = job["properties"]
    duration = definitions["TimeoutSpec"]["properties"]["hard"]
    short = {key: duration[key] for key in ("type", "pattern", "examples")}
    properties["timeout"] = {
        "description": properties["timeout"]["description"],
        "anyOf": [short, {"$ref": "#/definitions/TimeoutSpec"}],
    }
    need = properties["needs"]["items"]
    properties["needs"]["items"] = {"anyOf": [definitions["NeedSpec"]["properties"]["job"], need]}
    moments = definitions["AtTrigger"]["properties"]["at"]
    definitions["AtTrigger"]["properties"]["at"] = {
        "description": moments.pop("description"),
        "anyOf": [moments["items"], moments],
    }
    definitions["RunSpec"] |= {"minProperties": 1, "maxProperties": 1}


def _tidy(node: Any) -> Any:
    """Drop generated titles, allow no other names, wrap references: draft 07 does not read their neighbours."""
    if isinstance(node, list):
        return [_tidy(item) for item in node]
    if not isinstance(node, dict):
        return node
    if "$ref" in node and len(node) > 1:
        node = {**{key: item for key, item in node.items() if key != "$ref"}, "allOf": [{"$ref": node["$ref"]}]}
    if "patternProperties" in node:
        node = {**node, "additionalProperties": False}
    keep_title = "$schema" in node or isinstance(node.get("title"), dict)
    return {
        key: item if key in {"default", "examples", "enum", "const"} and not isinstance(item, dict) else _tidy(item)
        for key, item in node.items()
        if key != "title" or keep_title
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(jobs_schema(), indent=2, ensure_ascii=False) + "\n")
