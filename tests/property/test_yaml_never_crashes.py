"""Whatever a file holds, reading it gives plain values or problems."""

# ruff: noqa: E501 - a table of texts reads best with one text a line

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler.definitions.yaml_scalars import ScalarError, resolve
from scheduler.definitions.yaml_source import parse

pieces = st.sampled_from(
    ["a: ", "b", "- ", "[", "]", "{", "}", ",", ": ", "\n", "\n  ", "'", '"', "&x ", "*x", "!t ", "|\n", "> ", "# ",
     "---", "...", "? ", "%", "@", "\\u", "\t", "0", "1e9", ".inf", "null", "é", "\u2028", "😀", "\x85", "<<: "]
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(
    st.lists(pieces, max_size=25).map("".join).map(str.encode) | st.binary(max_size=80),
    st.sampled_from(["yaml", "json"]),
)
def test_any_bytes_give_json_or_problems(data, suffix):
    document = parse(data, f"f.{suffix}")
    if not document.problems:
        json.dumps(document.value, allow_nan=False).encode()
    for problem in document.problems:
        assert str(problem).startswith(f"f.{suffix}:")
        assert problem.place.line >= 1
        assert problem.place.column >= 1


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63) + 1, 2**63 - 1) | st.text(st.characters(exclude_categories=["Cs", "Cc"])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(st.characters(categories=["L"])), inner, max_size=3),
    max_leaves=10,
)  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(json_values, st.booleans(), st.sampled_from([None, 1, "\t"]))
def test_every_json_text_is_read_as_json(value, ascii_only, indent):
    data = json.dumps({"v": value}, ensure_ascii=ascii_only, indent=indent).encode()
    document = parse(data, "f.json")
    assert [str(problem) for problem in document.problems] == []
    assert document.value == {"v": value}


@settings(deadline=None)
@given(st.text(st.sampled_from("0123456789.-+eExoOnul~aif\ud800\0"), max_size=12))
def test_any_word_is_a_value_or_refused(word):
    try:
        value = resolve(word, plain=True)
    except ScalarError:
        return
    json.dumps(value, allow_nan=False)
