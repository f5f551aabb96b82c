"""Templates: what they give, and all they refuse."""

from datetime import UTC, datetime
from uuid import UUID

import pytest

from scheduler.domain.template import MAX_OUTPUT_CHARS, TemplateError, names, render_native, render_text

SCOPE = {
    "params": {
        "out": "/tmp/a b",
        "n": 3,
        "f": 1.5,
        "yes": True,
        "none": None,
        "empty": "",
        "list": [1, "x", None],
        "map": {"items": "mine", "k": {"deep": [10, 20]}},
        "big": "x" * 60_000,
    },
    "run": {
        "id": UUID(int=7),
        "fired_at": datetime(2026, 3, 1, 2, tzinfo=UTC),
        "attempt": 2,
    },
    "results": {"dump-db": {"rows": 12}},
}


@pytest.mark.parametrize(
    ("template", "text", "native"),
    [
        ("plain", "plain", "plain"),
        ("{% if x %} {# no #} %}", "{% if x %} {# no #} %}", "{% if x %} {# no #} %}"),
        ("{{ params.out }}", "/tmp/a b", "/tmp/a b"),
        ("-f={{ params.out }}\n", "-f=/tmp/a b\n", "-f=/tmp/a b\n"),
        ("${#x} {{ params.n }} {% y %}", "${#x} 3 {% y %}", "${#x} 3 {% y %}"),
        ("{{ params.n }}", "3", 3),
        ("{{ params.f }}", "1.5", 1.5),
        ("{{ params.yes }}", "true", True),
        ("{{ params.none }}", "", None),
        ("{{ params.list }}", '[1,"x",null]', [1, "x", None]),
        ("{{ params.map.items }}", "mine", "mine"),
        ("{{ params['map']['k'].deep[-1] }}", "20", 20),
        ("{{ params.map.k.deep.0 }}", "10", 10),
        ("{{ results['dump-db'].rows }}", "12", 12),
        ("{{ run.id }}", "00000000-0000-0000-0000-000000000007", "00000000-0000-0000-0000-000000000007"),
        ("{{ run.fired_at }}", "2026-03-01T02:00:00Z", "2026-03-01T02:00:00Z"),
        ("{{ run.attempt + 1 }}", "3", 3),
        ("{{ params.n * 2 - 1 }}", "5", 5),
        ("{{ params.x | default('d') }}", "d", "d"),
        ("{{ nobody.at.all | default(params.n) }}", "3", 3),
        ("{{ params.empty | default('d') }}", "", ""),
        ("{{ params.empty | default('d', true) }}", "d", "d"),
        ("{{ params.x is defined }}", "false", False),
        ("{{ params.n is defined and params.n > 2 }}", "true", True),
        ("{{ 'many' if params.n >= 2 else params.nowhere }}", "many", "many"),
        ("{{ 1 < params.n <= 3 }}", "true", True),
        ("{{ 'x' in params.list }}", "true", True),
        ("{{ params.out | upper | replace('/', '-') }}", "-TMP-A B", "-TMP-A B"),
        ("{{ params.list | length }}", "3", 3),
        ("{{ params.list | join(',') }}", "1,x,", "1,x,"),
        ("{{ params.map.k | tojson }}", '{"deep":[10,20]}', '{"deep":[10,20]}'),
        ("{{ ' 7 ' | trim | int }}", "7", 7),
        ("{{ '2.5' | float | round }}", "2", 2),
        ("{{ params.list | first }}{{ params.list | last }}", "1", "1"),
        ("{{ 'a' ~ params.n ~ params.none }}", "a3", "a3"),
        ("{{ '{{' }}.Names}}", "{{.Names}}", "{{.Names}}"),
        ("{{ {'a': [params.n]} }}", '{"a":[3]}', {"a": [3]}),
    ],
)
def test_what_templates_give(template, text, native):
    assert render_text(template, SCOPE) == text
    assert render_native(template, SCOPE) == native
    assert type(render_native(template, SCOPE)) is type(native)


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        ("{{ params.x }}", "params.x is not defined"),
        ("{{ nobody }}", "nobody is not defined"),
        ("{{ params.out.upper }}", "params.out.upper is not defined: text has no entries"),
        ("{{ params.__class__ }}", "is not defined"),
        ("{{ ''.__class__.__mro__ }}", "is not defined"),
        ("{{ params.list[7] }}", "is not defined"),
        ("{{ [] | first }}", "is not defined"),
        ("{{ params.out.upper() }}", "cannot use calls"),
        ("{{ range(9) }}", "cannot use calls"),
        ("{{ 9 ** 9 }}", r"cannot use powers"),
        ("{{ params.list[0:2] }}", "cannot use slices"),
        ("{{ 'a' * 9 }}", "a number is needed here, not text"),
        ("{{ [1] * 9 }}", "a number is needed here, not a list"),
        ("{{ '%9999d' % 1 }}", "a number is needed here, not text"),
        ("{{ params.yes + 1 }}", "a number is needed here, not true or false"),
        ("{{ 1 / 0 }}", "division by zero"),
        ("{{ 9223372036854775807 * 9 }}", "too large"),
        ("{{ " + "9" * 30 + " }}", "too large"),
        ("{{ 1e999 }}", "infinite"),
        ("{{ params.list < 3 }}", "a list cannot be compared with a number"),
        ("{{ 'x' | int }}", "is no whole number"),
        ("{{ 'nan' | float }}", "infinite or undefined"),
        ("{{ params.out | safe }}", "there is no filter safe"),
        ("{{ params.out | replace('a') }}", "takes 2 arguments"),
        ("{{ params.out | replace('', 'x') }}", "needs a text to look for"),
        ("{{ params.out | join(sep=1) }}", "plain arguments only"),
        ("{{ params.n is divisibleby 2 }}", "there is no test"),
        ("{{ params.out", "wrong syntax"),
        ("{{ }}", "wrong syntax"),
        ("{{.Names}}", "for two braces as text write"),
        ("{{ 1 if true }}", "needs an else"),
        ("{{ " + "(" * 9000 + " }}", "wrong syntax|nested too deeply"),
        ("{{ " + "-" * 200 + "1 }}", "nested"),
        ("{{ " + "1+" * 4000 + "1 }}", "nested"),
        ("{{ 1 }}" + "x" * 20_000, "at most 16384"),
        ("{{ 1 }}\0", "NUL"),
        ("{{ params.big ~ params.big }}", "more than"),
        ("{{ params.big }}{{ params.big }}", "more than"),
        ("{{ params.big | replace('x', params.big) }}", "more than"),
        ("{{ [params.big, params.big] }}", "more than"),
        ("{{ [params.big, params.big] | join }}", "more than"),
    ],
)
@pytest.mark.parametrize("render", [render_text, render_native])
def test_what_templates_refuse(render, template, reason):
    with pytest.raises(TemplateError, match=reason):
        render(template, SCOPE)


def test_values_are_filled_all_the_way_down_and_keys_are_not():
    value = {"{{ k }}": ["{{ params.n }}", {"a": ("x", "{{ params.n }}!")}], "b": 5, "c": None}
    assert render_native(value, SCOPE) == {"{{ k }}": [3, {"a": ("x", "3!")}], "b": 5, "c": None}
    assert render_text(value, SCOPE) == {"{{ k }}": ["3", {"a": ("x", "3!")}], "b": 5, "c": None}


def test_text_without_braces_comes_back_as_it_is_however_long():
    text = "x" * 10_000_000
    assert render_text(text, SCOPE) is text


def test_the_output_of_one_call_is_bounded_as_a_whole():
    value = ["{{ params.big }}"] * 2
    with pytest.raises(TemplateError, match=f"more than {MAX_OUTPUT_CHARS}"):
        render_text(value, SCOPE)


def test_a_value_nested_beyond_reason_is_refused():
    value: list = []
    for _ in range(100_000):  # more than any Python writes as JSON: 3.13 reaches further than 3.11
        value = [value]
    with pytest.raises(TemplateError, match="deeper"):
        render_text(value, SCOPE)
    with pytest.raises(TemplateError):
        render_text("{{ params.v }}", {"params": {"v": value}})


def test_what_is_rendered_is_not_rendered_again():
    assert render_text("{{ params.p }}", {"params": {"p": "{{ run.id }}"}}) == "{{ run.id }}"


def test_objects_are_refused():
    with pytest.raises(TemplateError, match="type object"):
        render_text("{{ params.o }}", {"params": {"o": object()}})


@pytest.mark.parametrize(
    ("template", "wanted"),
    [
        ("plain {%", set()),
        ("{{ params.out }} {{ run.id }}", {("params", "out"), ("run", "id")}),
        ("{{ results['dump-db'].rows }}", {("results", "dump-db", "rows")}),
        ("{{ params[params.k] }}", {("params",), ("params", "k")}),
        ("{{ params.a | default(params.b) }}", {("params", "b")}),
        ("{{ params.a if params.a is defined else 'x' }}", set()),
        ("{{ params.a and params.b }}", {("params", "a")}),
        ("{{ params.a | upper | default('x') }}", set()),
    ],
)
def test_names_are_those_that_must_be_defined(template, wanted):
    assert names(template) == wanted
