"""Names of files as text, globs, what an event says of a file, and the way back to the bytes."""

import base64
import os
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.domain.file_changes import Change, Stamp
from scheduler.domain.file_event import file_data, modified
from scheduler.domain.file_match import FileMatch
from scheduler.domain.file_names import exact_text, has_bytes, name_text
from schemas.event_trigger import FileSpec
from schemas.json_values import check_json
from schemas.vocabulary import FileChange

NAMES = st.one_of(
    st.binary(min_size=1, max_size=20),
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1).map(str.encode),
    st.lists(st.sampled_from(["\U000fdc80", "\U000fdcff", "x", "é"])).map(
        lambda parts: "".join(parts).encode() + b"\xff"
    ),
).filter(lambda name: b"\0" not in name)


@given(NAMES)
def test_text_of_a_name_is_storable_and_leads_back_to_its_bytes(name: bytes):
    text = name_text(name)

    check_json(text)
    assert os.fsencode(exact_text(text)) == name
    try:
        plain = name.decode()
    except UnicodeDecodeError:
        assert has_bytes(text)
    else:
        assert text == plain or has_bytes(plain)


@pytest.mark.parametrize(
    ("patterns", "yes", "no"),
    [
        (["*"], ["a", "x/a", "a\nb"], [".a", "x/.a"]),
        (["*.csv"], ["a.csv", "x/y/a.csv"], ["a.CSV", "a.csv.part", ".a.csv"]),
        (["*.csv", "!*.bad.csv"], ["a.csv"], ["a.bad.csv", "x/a.bad.csv"]),
        (["!*.part"], ["a"], ["a.part"]),
        (["in/*.csv"], ["in/a.csv"], ["a.csv", "x/in/a.csv", "in/x/a.csv"]),
        (["in/**/*.csv"], ["in/a.csv", "in/x/y/a.csv"], ["x/in/a.csv", "in/a"]),
        (["**/done/**"], ["done/a", "x/done/y/a"], ["a", "x/a"]),
        (["**/a/**/b"], ["a/b", "x/a/y/a/z/b"], ["b", "a/x"]),
        ([".*"], [".a", "x/.a"], ["a"]),
        (["[ab]?.txt"], ["a1.txt", "b\udcff.txt"], ["c1.txt", "a.txt"]),
    ],
)
def test_globs(patterns: list[str], yes: list[str], no: list[str]):
    matches = FileMatch(patterns)

    assert ([path for path in yes if not matches(path)], [path for path in no if matches(path)]) == ([], [])


def test_no_pattern_explodes():
    assert not FileMatch(["*a" * 300 + "/" + "**/*a" * 20])("a" * 250 + "/a" * 100 + "/b")
    assert not FileMatch(["*a" * 500])("a" * 255 + "b")


@pytest.mark.parametrize("pattern", ["/abs", "a//b", "../up", "x/.", "!", "!/a"])
def test_a_pattern_that_can_match_nothing_is_refused(pattern: str):
    with pytest.raises(ValueError, match="a pattern of names below the folder is expected"):
        FileSpec.model_validate({"path": "x", "match": pattern, "recursive": True})


def test_a_pattern_of_folders_needs_recursive():
    with pytest.raises(ValueError, match="recursive: true"):
        FileSpec.model_validate({"path": "x", "match": ["*", "a/*.csv"]})


def test_what_an_event_says():
    change = Change(FileChange.ADDED, b"sub/caf\xe9", Stamp(3, 1_000_000_000_123_456_789), renamed_from=b"b")

    data: dict[str, Any] = file_data(b"/in", change)

    assert base64.b64decode(data.pop("path_b64")) == b"/in/sub/caf\xe9"
    assert data == {
        "change": "added",
        "path": "/in/sub/caf\U000fdce9",
        "name": "caf\U000fdce9",
        "folder": "/in",
        "relative": "sub/caf\U000fdce9",
        "size": 3,
        "modified_at": "2001-09-09T01:46:40.123456Z",
        "renamed_from": "b",
    }
    assert file_data(b"/", Change(FileChange.DELETED, b"a", None))["path"] == "/a"


@pytest.mark.parametrize("mtime_ns", [2**63 - 1, -(2**63)])
def test_a_time_beyond_calendars_is_none(mtime_ns: int):
    found = modified(Change(FileChange.ADDED, b"a", Stamp(1, mtime_ns)))

    assert found is None or 1600 < found.year < 2300
