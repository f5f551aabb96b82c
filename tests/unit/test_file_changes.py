"""What counts as a change of a file, and when: pure, over listings."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.domain.file_changes import Change, FileTracker, Listing, Stamp
from schemas.vocabulary import FileChange

ALL = frozenset(FileChange)
ADDED, MODIFIED, DELETED = FileChange.ADDED, FileChange.MODIFIED, FileChange.DELETED


def stamp(size: int = 1, mtime: int = 10, inode: int = 7, born: int = 5) -> Stamp:
    return Stamp(size, mtime, inode, born)


def listing(*unseen: bytes, **files: Stamp) -> Listing:
    return Listing({name.encode().replace(b"__", b"/"): one for name, one in files.items()}, set(unseen))


def tracker(wanted=ALL, *, settle: float = 2.0, min_size: int = 0, **known: Stamp) -> FileTracker:
    return FileTracker(listing(**known).files, wanted, settle, min_size)


def kinds(changes: list[Change]) -> dict[bytes, FileChange | None]:
    return {change.path: change.kind for change in changes}


def test_a_file_counts_when_it_has_looked_the_same_for_long_enough():
    made = tracker()

    assert made.look(listing(a=stamp(1)), 0.0) == []
    assert made.look(listing(a=stamp(2)), 1.9) == []
    assert made.look(listing(a=stamp(2)), 3.8) == []
    assert made.due_in(3.8) == pytest.approx(0.1)
    settled = made.look(listing(a=stamp(2)), 3.9)
    assert kinds(settled) == {b"a": ADDED}
    assert kinds(made.look(listing(a=stamp(2)), 4.0)) == {b"a": ADDED}, "until it is remembered"
    made.remember(settled)
    assert made.look(listing(a=stamp(2)), 9.0) == []
    assert made.due_in(9.0) is None


def test_a_name_that_goes_before_it_settles_was_never_there():
    made = tracker()
    made.look(listing(part=stamp()), 0.0)

    made.look(listing(whole=stamp()), 1.0)

    assert kinds(made.look(listing(whole=stamp()), 3.0)) == {b"whole": ADDED}


@pytest.mark.parametrize(
    ("wanted", "after", "kind", "replaced"),
    [
        (ALL, stamp(2), MODIFIED, False),
        (ALL, stamp(mtime=11), MODIFIED, False),
        (ALL, stamp(2, inode=8), MODIFIED, True),
        (ALL, stamp(2, born=6), MODIFIED, True),
        (ALL, stamp(born=6), MODIFIED, True),
        ({ADDED}, stamp(2), None, False),
        ({ADDED}, stamp(2, born=6), ADDED, True),
        ({DELETED}, stamp(2, born=6), None, True),
    ],
)
def test_what_became_of_a_file_that_was_known(wanted, after, kind, replaced):
    made = tracker(wanted, settle=0, a=stamp())

    (change,) = made.look(listing(a=after), 0.0)

    assert (change.kind, change.replaced, change.stamp) == (kind, replaced, after)


def test_another_inode_alone_is_no_change():
    """Some network file systems number their files anew at each mount."""
    assert tracker(settle=0, a=stamp(born=0)).look(listing(a=stamp(inode=9, born=0)), 0.0) == []


def test_a_deletion_settles_too_and_what_is_back_by_then_is_a_replacement():
    made = tracker(a=stamp(), b=stamp())
    made.look(listing(), 0.0)

    settled = made.look(listing(b=stamp(2, born=9)), 2.0)

    assert kinds(settled) == {b"a": DELETED}
    (change,) = made.look(listing(b=stamp(2, born=9)), 4.0)[1:]
    assert (change.path, change.kind, change.replaced) == (b"b", MODIFIED, True)


def test_of_what_cannot_be_seen_nothing_is_known():
    made = tracker(settle=0, a=stamp(), sub__b=stamp(), sub__deep__c=stamp(), subject=stamp())

    changes = made.look(listing(b"sub", b"a"), 0.0)

    assert kinds(changes) == {b"subject": DELETED}


def test_a_rename_names_where_the_file_was():
    made = tracker(settle=0, old=stamp(inode=3))

    changes = made.look(listing(new=stamp(inode=3), other=stamp(inode=4)), 0.0)

    assert kinds(changes) == {b"old": DELETED, b"new": ADDED, b"other": ADDED}
    assert {change.path: change.renamed_from for change in changes if change.renamed_from} == {b"new": b"old"}


def test_small_files_do_not_count_and_are_not_gone():
    made = tracker(settle=0, min_size=5, known=stamp(9))

    assert made.look(listing(known=stamp(1), small=stamp(4)), 0.0) == []
    assert kinds(made.look(listing(known=stamp(9), small=stamp(5)), 0.0)) == {b"small": ADDED}


def test_changes_come_by_time_and_what_is_gone_first():
    made = tracker(settle=0, z=stamp())

    changes = made.look(listing(b=stamp(mtime=1), c=stamp(mtime=3), a=stamp(mtime=2)), 0.0)

    assert [change.path for change in changes] == [b"z", b"b", b"a", b"c"]


_LISTINGS = st.lists(
    st.dictionaries(st.sampled_from([b"a", b"b", b"c"]), st.builds(stamp, st.integers(1, 3), st.integers(1, 2))),
    max_size=8,
)


@given(_LISTINGS, st.sets(st.integers(0, 7)))
def test_each_difference_is_told_once_whenever_the_one_who_looks_dies(looks, deaths):
    """What is recorded is what was seen last, each change leads from the one before, and nothing is told twice."""
    recorded: dict[bytes, Stamp] = {}
    made = FileTracker(dict(recorded), ALL, 0, 0)
    for number, files in enumerate(looks):
        if number in deaths:
            made = FileTracker(dict(recorded), ALL, 0, 0)
        changes = made.look(Listing(dict(files)), float(number))
        made.remember(changes)
        for change in changes:
            assert (change.kind is ADDED) == (change.path not in recorded)
            assert change.stamp != recorded.pop(change.path, None)
            if change.stamp is not None:
                recorded[change.path] = change.stamp
        assert recorded == files == made.known
