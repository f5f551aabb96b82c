"""Params against a JSON Schema: what is said, of which field, and what is left for later."""

import pytest

from scheduler.domain.params_check import check_params_schema, find_wrong_params, names_of_templates, show_wrong_params

SCHEMA = {
    "type": "object",
    "properties": {
        "out": {"type": "string", "pattern": "^/backup/"},
        "order": {"type": "object", "properties": {"id": {"type": "integer"}}, "required": ["id"]},
        "level": {"$ref": "#/$defs/level"},
    },
    "required": ["out"],
    "additionalProperties": False,
    "$defs": {"level": {"enum": [1, 2, 3]}},
}


def lines(params, **options):
    return show_wrong_params(find_wrong_params(SCHEMA, params, **options))


def test_what_is_allowed_is_silent() -> None:
    assert [] == lines({"out": "/backup/a", "order": {"id": 7}, "level": 2})


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"out": "/tmp/a"}, ["params.out: '/tmp/a' does not match '^/backup/'"]),
        ({"out": "/backup/a", "order": {"id": "x"}}, ["params.order.id: 'x' is not of type 'integer'"]),
        ({"out": "/backup/a", "level": 9}, ["params.level: 9 is not one of [1, 2, 3]"]),
        ({}, ["params: 'out' is a required property"]),
        ({"out": "/backup/a", "ou": 1}, ["params: Additional properties are not allowed ('ou' was unexpected)"]),
        ({"level": 9, "out": 1}, ["params.level: 9 is not one of [1, 2, 3]", "params.out: 1 is not of type 'string'"]),
    ],
)
def test_each_wrong_field_is_named(params, said) -> None:
    assert said == lines(params)


def test_what_somebody_may_still_give_is_not_missed() -> None:
    assert [] == lines({}, complete=False)
    assert ["params.level: 0 is not one of [1, 2, 3]"] == lines({"level": 0}, complete=False)


def test_the_value_of_a_template_is_not_judged_before_it_is_filled() -> None:
    params = {"out": "{{ run.id }}", "level": 0}

    assert {"out"} == names_of_templates(params)
    assert ["params.level: 0 is not one of [1, 2, 3]"] == lines(params, unknown={"out"})


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        ({"type": "objekt"}, "is no JSON Schema: 'objekt' is not valid"),
        ({"properties": {"a": {"$ref": "http://127.0.0.1:1/a.json"}}}, "leads out of the schema"),
        ({"properties": {"a": {"$ref": "file:///etc/passwd"}}}, "leads out of the schema"),
        ({"$ref": "#/$defs/nowhere"}, "leads nowhere"),
    ],
)
def test_a_schema_that_checks_nothing_is_refused(schema, said) -> None:
    assert said in (check_params_schema(schema) or "")


def test_an_older_draft_is_read_as_such() -> None:
    below_three = {"maximum": 3, "exclusiveMaximum": True}
    draft4 = {"$schema": "http://json-schema.org/draft-04/schema#", "properties": {"n": below_three}}

    assert check_params_schema(draft4) is None
    assert 1 == len(find_wrong_params(draft4, {"n": 3}))
