"""A template either gives JSON or raises TemplateError: nothing else, whatever is written in it."""

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler.domain.template import TemplateError, names, render_native, render_text

SCOPE = {"params": {"a": 1, "b": "x", "c": [1, {"d": None}], "e": {"f": 2.5}}, "run": {"id": "r"}}

WORDS = """
params run .a .b .c .d .e [0] ['f'] 1 2.5 'x' "y" ( ) [ ] { } , : | default upper int float join replace first round
tojson length is defined none in not and or if else + - * / // % ** ~ == < >= true false {{ }} {% %} {# 0x1f 1_0 9e99
.__class__ . _ \\ - self super() loop caller().x set
"""
words = st.sampled_from([*WORDS.split(), "\n"])
expressions = st.lists(words, max_size=12).map(" ".join)


@settings(max_examples=300, deadline=None)
@given(expressions | st.text(max_size=60))
def test_any_expression_is_json_or_a_template_error(expression):
    template = "{{ " + expression + " }}"
    for render in (render_text, render_native):
        try:
            value = render(template, SCOPE)
        except TemplateError:
            continue
        json.dumps(value, allow_nan=False)
    try:
        names(template)
    except TemplateError:
        return


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=200))
def test_text_without_two_braces_is_never_touched(text):
    text = text.replace("{{", "{")
    assert render_text(text, {}) == text
    assert names(text) == frozenset()
