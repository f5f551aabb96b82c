"""The JSON Schema for editors is the one in docs, and is draft 07."""

import json
from pathlib import Path

from schemas.definitions_file import DefinitionsFile
from schemas.job_spec import JobSpec
from schemas.jobs_schema import jobs_schema

DOCUMENT = Path(__file__).parents[3] / "docs" / "jobs.schema.json"
DRAFT_07 = {
    "$schema", "$ref", "title", "description", "default", "examples", "definitions", "type", "enum", "const", "allOf",
    "anyOf", "oneOf", "not", "if", "then", "else", "properties", "patternProperties", "additionalProperties",
    "propertyNames", "required", "minProperties", "maxProperties", "items", "minItems", "maxItems", "pattern", "format",
    "minLength", "maxLength", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum",
}  # fmt: skip


def subschemas(node):
    """Yield every schema inside a schema, itself first."""
    yield node
    for key in ("properties", "patternProperties", "definitions"):
        for inner in node.get(key, {}).values():
            yield from subschemas(inner)
    for key in ("items", "additionalProperties", "propertyNames"):
        if isinstance(node.get(key), dict):
            yield from subschemas(node[key])
    for key in ("allOf", "anyOf", "oneOf"):
        for inner in node.get(key, []):
            yield from subschemas(inner)


def test_the_document_is_up_to_date():
    """Written by: python -m schemas.jobs_schema > docs/jobs.schema.json."""
    assert json.loads(DOCUMENT.read_text(encoding="utf-8")) == jobs_schema()


def test_only_words_of_draft_07_are_used_and_references_stand_alone():
    schema = jobs_schema()
    for node in subschemas(schema):
        assert set(node) <= DRAFT_07
        if "$ref" in node:
            assert list(node) == ["$ref"]
            assert node["$ref"].removeprefix("#/definitions/") in schema["definitions"]


def test_no_object_takes_unknown_keys_and_every_top_key_is_described():
    schema = jobs_schema()
    for name, node in schema["definitions"].items():
        assert node.get("additionalProperties") is False or "enum" in node, name
    assert schema["additionalProperties"] is False
    assert set(schema["properties"]) == set(DefinitionsFile.model_fields)
    assert set(schema["definitions"]["JobSpec"]["properties"]) == set(JobSpec.model_fields)
    for node in subschemas(schema):
        for key, inner in node.get("properties", {}).items():
            assert inner.get("description") or node is schema["definitions"]["SecretRef"], key
        assert node.get("additionalProperties") is False or "patternProperties" not in node
