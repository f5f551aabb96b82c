"""Params against the JSON Schema of their job: what is wrong, by field.

Draft 2020-12 unless ``$schema`` names another. ``$ref`` reaches into the schema itself and nowhere else.
"""

import json
from collections.abc import Collection, Iterator, Mapping
from functools import lru_cache
from typing import Any, Final

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError, ValidationError
from jsonschema.protocols import Validator
from jsonschema.validators import validator_for
from referencing import Registry
from referencing.exceptions import Unresolvable

_MOST_SHOWN: Final = 10
_LONGEST: Final = 200
_REFERENCES: Final = frozenset({"$ref", "$dynamicRef", "$recursiveRef"})


def check_params_schema(schema: Mapping[str, Any]) -> str | None:
    """Return what is wrong with a schema; None when params can be checked by it."""
    for reference in _references(schema):
        if not reference.startswith("#"):
            return f"$ref {reference[:_LONGEST]!r} leads out of the schema; only #/$defs/NAME and the like can be read"
    try:
        validator_for(schema, default=Draft202012Validator).check_schema(dict(schema))
        list(_validator(json.dumps(schema)).iter_errors({}))
    except SchemaError as error:
        return f"is no JSON Schema: {_line(error)}"
    except Unresolvable as error:
        return f"$ref leads nowhere: {error}"[:_LONGEST]
    return None


def find_wrong_params(
    schema: Mapping[str, Any],
    params: Mapping[str, Any],
    *,
    unknown: Collection[str] = (),
    complete: bool = True,
) -> list[tuple[tuple[str | int, ...], str]]:
    """Return path and message of each param that ``schema`` does not allow, at most 10.

    ``unknown`` names those that are not known yet, and pass. ``complete=False``: somebody may still add to them.
    """
    found: list[tuple[tuple[str | int, ...], str]] = []
    for error in _validator(json.dumps(schema)).iter_errors(dict(params)):
        path = tuple(error.absolute_path)
        depends_on_all = not path and error.validator not in {"required", "additionalProperties", "type"}
        incomplete = not path and (error.validator == "required" or depends_on_all)
        if (path and path[0] in unknown) or (unknown and depends_on_all) or (incomplete and not complete):
            continue
        found.append((path, _line(error)))
    return sorted(found, key=lambda each: [str(part) for part in each[0]])[:_MOST_SHOWN]


def names_of_templates(params: Mapping[str, Any]) -> frozenset[str]:
    """Return the params whose value is made by a template."""
    return frozenset(name for name, value in params.items() if "{{" in json.dumps(value))


def show_wrong_params(found: list[tuple[tuple[str | int, ...], str]]) -> list[str]:
    """Return a line for each of ``found``: ``params.order.id: 'x' is not of type 'integer'``."""
    return [f"{'.'.join(map(str, ('params', *path)))}: {message}" for path, message in found]


@lru_cache(maxsize=1000)
def _validator(schema: str) -> Validator:
    read = json.loads(schema)
    made: Validator = validator_for(read, default=Draft202012Validator)(read, registry=Registry())
    return made


def _references(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            if key in _REFERENCES and isinstance(inner, str):
                yield inner
            yield from _references(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _references(inner)


def _line(error: ValidationError | SchemaError) -> str:
    return " ".join(str(error.message).split())[:_LONGEST]
