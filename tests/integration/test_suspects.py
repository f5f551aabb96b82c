"""Offers that come again are taken in hand one by one, and none is forgotten in an executor's hand."""

from pathlib import Path

from actors.suspects import CRASHES, Suspects
from scheduler.errors import DatabaseUnavailableError
from schemas.registry import dump
from tests.support.executing import QUEUE, Stage, offer, until


class PlayedBook:
    """Notes in memory; the first ``refusals`` times it takes none."""

    def __init__(self, refusals: int = 0) -> None:
        self.notes: dict[bytes, int] = {}
        self.refusals = refusals

    async def note(self, digest: bytes, queue: str) -> int:
        assert QUEUE == queue
        if self.refusals:
            self.refusals -= 1
            raise DatabaseUnavailableError("not now")
        self.notes[digest] = self.notes.get(digest, 0) + 1
        return self.notes[digest] - 1

    async def forget(self, digest: bytes) -> None:
        self.notes.pop(digest, None)


async def in_hand_before(stage: Stage) -> None:
    """Let all offers be redelivered, as after the death of the executor that had them."""
    consumer = await stage.aside.consumer(QUEUE, credit=100, name="dead")
    await until(lambda: not stage.broker.queues[QUEUE].ready)
    await consumer.close()


async def test_what_cannot_be_noted_now_is_given_back_and_comes_again(tmp_path: Path) -> None:
    async with Stage(tmp_path, slots=10) as stage:
        starts = [offer() for _ in range(5)]
        for start in starts:
            await stage.publish(start)
        await in_hand_before(stage)
        book = PlayedBook(refusals=2)
        stage.executor.suspects = Suspects(book)

        await stage.executor.start()

        await until(lambda: len(stage.recorder.finished) == len(starts))
        assert dict.fromkeys((start.run_id for start in starts), 1) == stage.starts()
        await until(lambda: not stage.in_queue())
        assert ({}, 0) == (book.notes, book.refusals)


async def test_only_the_element_over_which_readers_ended_is_buried(tmp_path: Path) -> None:
    async with Stage(tmp_path, slots=10) as stage:
        starts = [offer() for _ in range(3)]
        await stage.publish(*starts)
        await in_hand_before(stage)
        book = PlayedBook()
        suspects = stage.executor.suspects = Suspects(book)
        for _ in range(CRASHES):
            await book.note(suspects.digest(QUEUE, dump(starts[1:2])), QUEUE)
        await book.note(suspects.digest(QUEUE, dump(starts)), QUEUE)

        await stage.executor.start()

        await until(lambda: len(stage.recorder.finished) == 2)
        assert {starts[0].run_id: 1, starts[2].run_id: 1} == stage.starts()
        (letter,) = stage.broker.queues["scheduler.dead-letters"].ready
        assert dump(starts[1:2]) == letter.out.body
        assert str(letter.out.headers["x-reason"]).startswith(f"its reader ended {CRASHES} times")
        await until(lambda: not stage.in_queue())
        assert {} == book.notes
