"""An executor's notes of what it has in hand: found by its successor, and in nobody's way."""

from pathlib import Path

from actors.executing.crash_notes import CrashNotes

ONE, OTHER = b"\1" * 32, b"\2" * 32


async def test_notes_are_counted_over_processes_and_forgotten(tmp_path: Path) -> None:
    first = CrashNotes(tmp_path / "in-hand")
    assert [0, 1, 0] == [await first.note(digest, "queue") for digest in (ONE, ONE, OTHER)]

    second = CrashNotes(tmp_path / "in-hand")
    assert 2 == await second.note(ONE, "queue")
    await second.forget(ONE)

    assert (0, 1) == (await second.note(ONE, "queue"), await second.note(OTHER, "queue"))


async def test_a_folder_that_cannot_be_used_holds_up_nothing(tmp_path: Path) -> None:
    (tmp_path / "in-hand").write_text("a file is in the way")
    notes = CrashNotes(tmp_path / "in-hand")

    assert [0, 0] == [await notes.note(ONE, "queue"), await notes.note(ONE, "queue")]
    await notes.forget(ONE)


async def test_very_many_old_notes_are_dropped(tmp_path: Path) -> None:
    for number in range(1001):
        (tmp_path / f"{number:064x}").write_bytes(b".")

    CrashNotes(tmp_path)

    assert [] == list(tmp_path.iterdir())
