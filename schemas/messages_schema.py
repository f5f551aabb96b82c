"""JSON Schema of every message, for readers and writers in other languages."""

import json
from typing import Any

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue, models_json_schema
from pydantic_core.core_schema import TaggedUnionSchema

from schemas.registry import MESSAGES


class PlainSchema(GenerateJsonSchema):
    """JSON Schema without ``discriminator``: a word of OpenAPI's, which in AsyncAPI means something else."""

    def tagged_union_schema(self, schema: TaggedUnionSchema) -> JsonSchemaValue:
        """Return the schema of a union whose parts say by a constant which they are."""
        made = super().tagged_union_schema(schema)
        made.pop("discriminator", None)
        return made


def messages_schema() -> dict[str, Any]:
    """Return one JSON Schema: a body is one message or an array of them, told apart by ``type`` and ``v``."""
    _, definitions = models_json_schema([(message, "validation") for message in MESSAGES], schema_generator=PlainSchema)
    models: dict[str, Any] = definitions["$defs"]
    for message in MESSAGES:
        model = models[message.__name__]
        model["properties"] = {
            "type": {"const": message.type},
            "v": {"const": message.version},
            **model["properties"],
        }
        model["required"] = ["type", "v", *model.get("required", [])]
        # Readers ignore what they do not know: a new optional field needs no new version.
        model.pop("additionalProperties", None)
    one = {"oneOf": [{"$ref": f"#/$defs/{message.__name__}"} for message in MESSAGES]}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A body on the broker",
        "oneOf": [one, {"type": "array", "minItems": 1, "items": one}],
        "$defs": models,
    }


if __name__ == "__main__":
    print(json.dumps(messages_schema(), indent=2, ensure_ascii=False))  # noqa: T201 - a script
