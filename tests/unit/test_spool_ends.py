"""Ends are said until they are named, in bodies of bounded size, whatever a job wrote."""

import asyncio
import json
import uuid
from datetime import timedelta
from pathlib import Path

import pytest

from actors.executing.ends import Ends
from actors.executing.finished import BODY_BYTES, Reporter, finished, line_of
from actors.executing.running import Run
from actors.executing.spool import Spool
from scheduler.clock import VirtualClock
from scheduler.ports import Ended, PublishOutcome
from schemas.facts import AttemptFinished, Output
from schemas.registry import parse, split
from schemas.vocabulary import Outcome
from tests.support.executing import noon, offer

BOOT = uuid.uuid4()


class Out:
    """A way out whose outcomes the test decides."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.outcomes: list[asyncio.Future[PublishOutcome]] = []

    def __call__(self, body: bytes, _store: str | None) -> "asyncio.Future[PublishOutcome]":
        self.bodies.append(body)
        self.outcomes.append(asyncio.get_running_loop().create_future())
        return self.outcomes[-1]

    def seqs(self) -> list[list[int]]:
        return [[element["end_seq"] for element in split(body)] for body in self.bodies]


class Desk:
    def __init__(self, folder: Path, boot_id: uuid.UUID = BOOT) -> None:
        self.clock = VirtualClock(noon())
        self.out = Out()
        self.ends = Ends(Spool(folder), boot_id, self.out, self.clock)
        self.found = self.ends.open()

    def fact(self, **ended) -> AttemptFinished:
        run = Run(offer(), uuid.uuid4(), noon(), 0.0)
        end = Ended(**{"outcome": Outcome.SUCCEEDED, **ended})
        return finished(run, end, self.ends.next_seq(), Reporter("one", BOOT), at=(noon(), 1.0))

    async def pass_time(self, seconds: float) -> None:
        await self.clock.advance(timedelta(seconds=seconds))
        self.ends.send_overdue()


@pytest.fixture
def desk(tmp_path):
    made = Desk(tmp_path)
    yield made
    made.ends.close()


async def test_an_end_is_sent_at_once_and_again_until_it_is_named(desk):
    desk.ends.add([desk.fact(), desk.fact()])
    desk.out.outcomes[0].set_result(PublishOutcome.STORED)
    await desk.pass_time(9)
    assert [[1, 2]] == desk.out.seqs()
    await desk.pass_time(2)
    assert [[1, 2], [1, 2]] == desk.out.seqs()
    desk.ends.forget([2, 99])
    await desk.pass_time(11)
    assert [1] == desk.out.seqs()[2]
    desk.ends.forget([1])
    await desk.pass_time(60)
    assert (3, 0) == (len(desk.out.bodies), len(desk.ends))


@pytest.mark.parametrize("outcome", [PublishOutcome.REFUSED, PublishOutcome.UNKNOWN])
async def test_an_end_the_broker_did_not_take_is_sent_again_soon(desk, outcome):
    desk.ends.add([desk.fact()])
    desk.out.outcomes[0].set_result(outcome)
    await asyncio.sleep(0)
    await desk.pass_time(0.5)
    assert 1 == len(desk.out.bodies)
    await desk.pass_time(0.6)
    assert 2 == len(desk.out.bodies)


async def test_all_is_stored_when_the_broker_has_confirmed_each(desk):
    desk.ends.add([desk.fact()])
    desk.ends.add([desk.fact()])
    waiting = asyncio.ensure_future(desk.ends.all_stored())
    desk.out.outcomes[1].set_result(PublishOutcome.STORED)
    await asyncio.sleep(0)
    assert not waiting.done()
    desk.out.outcomes[0].set_result(PublishOutcome.STORED)
    await asyncio.wait_for(waiting, 1)


async def test_ends_without_an_answer_are_missed_after_a_while(desk):
    desk.ends.add([desk.fact()])
    assert () == desk.ends.missed()
    await desk.pass_time(4)
    assert (1,) == desk.ends.missed()


async def test_ends_of_an_earlier_boot_are_sent_under_places_of_this_one(tmp_path, desk):
    facts = [desk.fact(exit_code=3) for _ in range(3)]
    desk.ends.add(facts)
    desk.ends.forget([2])
    desk.ends.close()
    boot = uuid.uuid4()
    later = Desk(tmp_path, boot)
    later.ends.send_overdue()
    resent = [parse(element) for element in split(later.out.bodies[0])]
    later.ends.close()
    # what was named is not struck out of the file: it is said once more, which changes nothing
    assert 3 == later.found
    assert [fact.model_copy(update={"boot_id": boot}) for fact in facts] == resent


async def test_the_file_is_empty_when_all_are_named(tmp_path, desk):
    desk.ends.add([desk.fact(), desk.fact()])
    desk.ends.forget([1, 2])
    desk.ends.close()
    later = Desk(tmp_path)
    later.ends.close()
    assert 0 == later.found


async def test_foreign_lines_in_the_file_are_left_out(tmp_path, desk):
    desk.ends.add([desk.fact()])
    desk.ends.close()
    with (tmp_path / "ends.jsonl").open("ab") as file:
        file.write(b'not json\n{"type":"attempt.finished","v":77}\n\n')
    later = Desk(tmp_path)
    later.ends.close()
    assert 1 == later.found


async def test_bodies_stay_below_their_bound(desk):
    output = Output(head="x" * 30_000, total_bytes=30_000)
    desk.ends.add([desk.fact(output=output) for _ in range(10)])
    assert max(map(len, desk.out.bodies)) <= BODY_BYTES + 2
    assert list(range(1, 11)) == [seq for body in desk.out.seqs() for seq in body]


async def test_output_that_escapes_blow_up_is_cut_again(desk):
    output = Output(head="\x1b" * 16_384, tail="\x1b" * 49_152, total_bytes=10**9)
    line = line_of(desk.fact(output=output))
    told = parse(json.loads(line))
    assert len(line) <= BODY_BYTES
    assert isinstance(told, AttemptFinished)
    assert told.output is not None
    assert (10**9, True, True) == (told.output.total_bytes, bool(told.output.head), bool(told.output.tail))


@pytest.mark.parametrize(
    "bad", [{"retry_after_s": -1.0}, {"reason": "\ud800"}, {"result": "\ud800"}, {"result": "x" * 200_000}]
)
async def test_an_end_that_cannot_be_written_keeps_its_outcome(desk, bad):
    line = line_of(desk.fact(outcome=Outcome.FAILED, **bad))
    told = parse(json.loads(line))
    assert isinstance(told, AttemptFinished)
    assert Outcome.FAILED is told.outcome
    assert told.reason


async def test_an_abandoned_run_is_lost_whatever_the_sandbox_says(desk):
    run = Run(offer(), uuid.uuid4(), noon(), 0.0, abandoned="the executor was stopped")
    fact = finished(run, Ended(Outcome.SUCCEEDED), 1, Reporter("one", BOOT), at=(noon(), 1.0))
    assert (Outcome.LOST, "the executor was stopped") == (fact.outcome, fact.reason)


async def test_the_file_is_written_anew_when_it_grows(tmp_path, desk):
    output = Output(head="x" * 60_000, total_bytes=60_000)
    for _ in range(300):
        fact = desk.fact(output=output)
        desk.ends.add([fact])
        desk.ends.forget([fact.end_seq - 1])
    assert (tmp_path / "ends.jsonl").stat().st_size <= 17 * 1024 * 1024
    assert 1 == len(desk.ends)
