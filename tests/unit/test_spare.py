"""One row that cannot be dealt with holds up no other."""

import uuid
from collections.abc import Sequence

import pytest

from scheduler.errors import DatabaseUnavailableError
from scheduler.store.sweeping import spare

IDS = [uuid.UUID(int=number) for number in range(1, 8)]


class Work:
    """Refuses any batch that holds one of ``bad``."""

    def __init__(self, *bad: uuid.UUID, error: Exception | None = None) -> None:
        self.bad = bad
        self.error = error or ValueError("cannot be")
        self.done: list[uuid.UUID] = []
        self.postponed: list[uuid.UUID] = []

    async def do(self, ids: Sequence[uuid.UUID]) -> None:
        if any(bad in ids for bad in self.bad):
            raise self.error
        self.done += ids

    async def postpone(self, bad: uuid.UUID) -> None:
        self.postponed.append(bad)


async def test_the_bad_ones_are_found_and_all_others_done_once() -> None:
    work = Work(IDS[2], IDS[6])

    await spare(IDS, work.do, work.postpone)

    assert ([IDS[2], IDS[6]], sorted(set(IDS) - {IDS[2], IDS[6]})) == (work.postponed, sorted(work.done))


async def test_an_unwell_database_is_blamed_on_no_row() -> None:
    work = Work(IDS[2], error=DatabaseUnavailableError("away"))

    with pytest.raises(DatabaseUnavailableError):
        await spare(IDS, work.do, work.postpone)

    assert [] == work.postponed
