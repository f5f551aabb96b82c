"""Seats: one executor each; what is left in one is found again by the next."""

from pathlib import Path

import pytest

from scheduler.errors import ConfigurationError
from scheduler.seat import Seat


def test_two_executors_at_once_have_folders_and_names_of_their_own(tmp_path: Path) -> None:
    first, second = Seat.take(tmp_path, "default"), Seat.take(tmp_path, "default")

    assert first.folder != second.folder
    assert first.name != second.name

    first.leave()
    second.leave()


def test_the_next_one_takes_the_seat_that_is_free_with_its_name(tmp_path: Path) -> None:
    first, second = Seat.take(tmp_path, "default"), Seat.take(tmp_path, "default")
    first.leave()

    third = Seat.take(tmp_path, "default")

    assert (third.folder, third.name) == (first.folder, first.name)
    assert third.folder.stat().st_mode & 0o077 == 0
    second.leave()
    third.leave()


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(ConfigurationError, match=str(tmp_path / "file")):
        Seat.take(tmp_path / "file", "default")
