"""The OpenAPI document: every operation has a name of its own and examples, which fit what the document says."""

from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest

from scheduler.api.app import make_app
from scheduler.api.description import document
from scheduler.api.site import Site
from scheduler.clock import SystemClock
from scheduler.config import Settings
from scheduler.metrics import Metrics

DOCUMENT = document(make_app(Site(Settings(), SystemClock(), Metrics("test"))))
OPERATIONS = {operation["operationId"]: operation for path in DOCUMENT["paths"].values() for operation in path.values()}


def contents(operation: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield what an operation takes and answers as JSON when all is well."""
    taken = operation.get("requestBody", {}).get("content", {})
    said = [response.get("content", {}) for status, response in operation["responses"].items() if status[0] == "2"]
    for kinds in (taken, *said):
        for kind, content in kinds.items():
            if kind == "application/json":
                yield kind, content


def test_every_operation_has_a_name_of_its_own() -> None:
    assert len(OPERATIONS) == sum(len(path) for path in DOCUMENT["paths"].values())


@pytest.mark.parametrize("name", sorted(OPERATIONS))
def test_an_operation_has_examples_that_fit(name: str) -> None:
    for _, content in contents(OPERATIONS[name]):
        schema = content["schema"]
        given = [content["example"]] if "example" in content else content.get("examples", schema.get("examples", ()))
        assert given
        for example in given:
            jsonschema.validate(example, {**schema, "components": DOCUMENT["components"]})


def test_an_operation_of_the_interface_says_how_it_refuses() -> None:
    for operation in OPERATIONS.values():
        if "x-action" in operation:
            assert {"401", "403", "404", "422", "429", "503"} <= set(operation["responses"])
