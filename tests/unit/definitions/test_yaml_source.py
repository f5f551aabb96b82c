"""Text to values with positions: YAML 1.2 core, and what attacks it."""

# ruff: noqa: E501 - a table of texts reads best with one text a line

import pytest

from scheduler.definitions.problems import Place
from scheduler.definitions.yaml_source import MAX_BYTES, parse


def problems(data, file="f.yaml"):
    return [str(problem) for problem in parse(data, file).problems]


def test_values_and_places():
    document = parse(b"a: 1\nb:\n  - x\n  - {c: 2}\n", "f.yaml")
    assert document.problems == []
    assert document.value == {"a": 1, "b": ["x", {"c": 2}]}
    assert document.keys[("a",)] == Place(1, 1)
    assert document.values[("a",)] == Place(1, 4)
    assert document.values[("b", 1, "c")] == Place(4, 9)


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("NO", "NO"),
        ("on", "on"),
        ("yes", "yes"),
        ("True", True),
        ("false", False),
        ("12:30", "12:30"),
        ("2026-01-01", "2026-01-01"),
        ("2026-02-30", "2026-02-30"),
        ("~", None),
        ("null", None),
        ("", None),
        ("0", 0),
        ("-7", -7),
        ("0x1F", 31),
        ("0o17", 15),
        ("1e3", 1000.0),
        ("1_000", "1_000"),
        ("<<", "<<"),
        ("'5'", "5"),
        ('"a\\tb"', "a\tb"),
        ("9223372036854775807", 2**63 - 1),
    ],
)
def test_words_mean_what_yaml_1_2_says(word, value):
    found = parse(f"k: {word}\n".encode(), "f.yaml")
    assert found.problems == []
    assert found.value == {"k": value}
    assert type(found.value["k"]) is type(value)


@pytest.mark.parametrize(
    ("data", "line"),
    [
        (b"", "f.yaml:1:1: file: is empty; a definitions file begins with version: 1"),
        (b"# nothing\n", "f.yaml:1:1: file: is empty; a definitions file begins with version: 1"),
        (b"a: 1\nb: 2\na: 3\n", "f.yaml:3:1: a: the key is given twice, in line 1 and here in line 3"),
        (b'{"a": {"b": 1,\n "b": 1}}', "f.yaml:2:2: a.b: the key is given twice, in line 1 and here in line 2"),
        (b"a: &x 1\n", "f.yaml:1:4: a: anchors are not allowed (&x); write the value out"),
        (b"a: [*x]\n", 'f.yaml:1:5: a[0]: aliases are not allowed; if text is meant, put it in quotes: "*x"'),
        (b"a: !!str 1\n", "f.yaml:1:4: a: tags are not allowed (tag:yaml.org,2002:str)"),
        (b"a: !!python/object:os.system {}\n", "f.yaml:1:4: a: tags are not allowed (tag:yaml.org,2002:python/object:os.system)"),
        (b"a: .nan\n", "f.yaml:1:4: a: .nan is no number that can be stored; put it in quotes if text is meant"),
        (b"a: -.inf\n", "f.yaml:1:4: a: -.inf is no number that can be stored; put it in quotes if text is meant"),
        (b"a: 1e999\n", "f.yaml:1:4: a: the number 1e999 is too large"),
        (b"a: 010\n", "f.yaml:1:4: a: 010 has a leading zero; put it in quotes if text is meant"),
        (b"a: " + b"9" * 5000, "f.yaml:1:4: a: a number beyond 64 bits; put it in quotes if text is meant"),
        (b"a: " + b"x" * 65_537, "f.yaml:1:4: a: 65537 characters, at most 65536 are allowed"),
        (b"a: x\0y\n", "f.yaml:1:5: file: contains the NUL character, which is not allowed"),
        (b'a: "x\\0"\n', "f.yaml:1:4: a: contains NUL or half of a surrogate pair, which is not allowed"),
        (b"a: 1\nb: \xff\n", "f.yaml:2:4: file: not UTF-8; save the file in UTF-8"),
        (b"a: \x07\n", "f.yaml:1:4: syntax: not YAML: a control character, which is not allowed"),
        (b"a: 1\n---\nb: 2\n", "f.yaml:2:1: file: a second document begins; one file holds one document"),
        (b"a: {{ params.x }}\n", 'f.yaml:1:5: a: a key must be text; a template has to be put in quotes: "{{ … }}"'),
        (b"a:\n\tb: 1\n", "f.yaml:2:1: syntax: a tab cannot indent; use spaces"),
        (b"a: b: c\n", "f.yaml:1:5: syntax: text with a colon and a space has to be put in quotes"),
        (b"c: */5 * * * *\n", 'f.yaml:1:4: syntax: text that starts with * has to be put in quotes, as in cron: "*/5 * * * *"'),
        (b"c: @daily\n", 'f.yaml:1:4: syntax: text that starts with @ has to be put in quotes, as in cron: "@daily"'),
        (b"a: 'x", "f.yaml:1:6: syntax: not YAML: found unexpected end of stream"),
        (b"[" * 200_000, "f.yaml:1:65: file: nested deeper than 64"),
        (b'{"a":' * 100_000, "f.yaml:1:321: file: nested deeper than 64"),
        (b"x" * (MAX_BYTES + 1), "f.yaml:1:1: file: more than 1048576 bytes, which is the most that is read"),
    ],
)  # fmt: skip
def test_what_is_refused_and_where(data, line):
    assert problems(data) == [line]


def test_an_alias_bomb_stops_at_its_first_alias():
    bomb = b"a: &a [x,x]\n" + b"".join(b"%c: &%c [*%c,*%c]\n" % (c, c, c - 1, c - 1) for c in range(98, 107))
    assert problems(bomb)[-1].startswith("f.yaml:2:8: b[0]: aliases are not allowed")


def test_json_is_read_with_its_escapes_tabs_and_places():
    document = parse(b'{\n\t"a": "\\ud83d\\ude00 \\/ \\\\ud83d",\n\t"b": [true, null, -1.5e3]\n}\n', "f.json")
    assert document.problems == []
    assert document.value == {"a": "😀 / \\ud83d", "b": [True, None, -1500.0]}
    assert document.values[("b", 2)] == Place(3, 20)


@pytest.mark.parametrize("text", ["NaN", "Infinity", "-Infinity", '"\\ud800"'])
def test_what_only_lax_json_readers_take_is_refused(text):
    assert len(problems(f'{{"a": {text}}}'.encode(), "f.json")) == 1


def test_a_byte_order_mark_is_taken():
    assert parse(b"\xef\xbb\xbfa: 1\n", "f.yaml").value == {"a": 1}
