"""Messages nobody can handle: buried with the reason, one by one, and the good ones beside them are handled."""

import uuid

from scheduler.ports import Delivery, Out
from schemas.facts import FiringDue
from schemas.registry import dump
from schemas.vocabulary import Outcome
from tests.support.engine import Engine, engine


async def dead_letters(stage: Engine, count: int) -> list[Delivery]:
    """Take ``count`` dead letters, as an operator would in the management UI."""
    consumer = await stage.executor.transport.consumer("scheduler.dead-letters", credit=100, name="operator")
    letters: list[Delivery] = []
    while len(letters) < count:
        letters += await consumer.take(100)
    await consumer.ack(letters)
    await consumer.close()
    return letters


async def publish(stage: Engine, body: bytes) -> None:
    publisher = await stage.executor.transport.publisher("stranger")
    await publisher.publish(Out("scheduler.firings", "firing.due", body))
    await publisher.close()


async def test_garbage_is_buried_with_the_reason_and_the_next_good_message_counts(database_url: str) -> None:
    async with engine(database_url) as stage:
        await stage.apply(job={"run": {"command": ["true"]}})
        for body in (b"\xff\x00", b'{"type": "firing.due", "v": 99}', b"[[1]]", b'"text"'):
            await publish(stage, body)

        await stage.fire("job")

        letters = await dead_letters(stage, 4)
        assert {"scheduler.dispatcher.firings"} == {letter.headers["x-origin-queue"] for letter in letters}
        reasons = {bytes(letter.body)[:4]: str(letter.headers["x-reason"]) for letter in letters}
        assert reasons[b"\xff\x00"].startswith("not JSON")
        assert "unknown type and version 'firing.due' v99" == reasons[b'{"ty']
        assert "an element is list, not an object" == reasons[b"[1]"]
        assert "an element is str, not an object" == reasons[b'"tex']
        assert {"job": ["succeeded"]} == await stage.settled(1)


async def test_bad_element_of_a_list_is_buried_alone(database_url: str) -> None:
    async with engine(database_url) as stage:
        await stage.apply(job={"run": {"command": ["true"]}})
        firing_id = await stage.fire("job")
        good = dump([FiringDue(tenant="default", firing_id=firing_id)])

        await publish(stage, b"[" + good + b', {"type": "nobody.knows", "v": 1}, ' + good + b"]")

        (letter,) = await dead_letters(stage, 1)
        assert b'{"type":"nobody.knows","v":1}' == letter.body
        assert {"job": ["succeeded"]} == await stage.settled(1)


async def test_end_the_database_refuses_is_settled_without_its_particulars(database_url: str) -> None:
    """A text with NUL can be no PostgreSQL text: that one end loses its texts, the ends around it nothing."""
    async with engine(database_url) as stage:
        stage.executor.script["job"] = [None]
        await stage.apply(job={"run": {"command": ["true"]}, "overlap": "allow"})
        for _ in range(5):
            await stage.fire("job")
        await stage.until("SELECT count(*) = 5 FROM runs WHERE state = 'running'")
        grants = [await stage.grant(index) for index in range(5)]
        ends = [stage.executor.end(offer, claim_id, Outcome.SUCCEEDED) for offer, claim_id in grants]
        ends[2] = ends[2].model_copy(update={"reason": "nul \0 here"})

        publisher = await stage.executor.transport.publisher("stranger")
        await publisher.publish(Out("scheduler.attempts", "attempt.finished", dump(ends)))
        await publisher.close()

        await stage.until("SELECT count(*) = 5 FROM runs WHERE state = 'succeeded'")
        reason = await stage.db.fetchval("SELECT reason FROM attempts WHERE run_id = $1", grants[2][0].run_id)
        assert "CharacterNotInRepertoireError" in reason
        assert 1 == await stage.db.fetchval("SELECT count(*) FROM attempts WHERE reason IS NOT NULL")
        named = {ends[2].end_seq}
        await stage.heard(lambda: named <= {seq for answer in stage.executor.answers for seq in answer.ends})


async def test_a_message_on_the_wrong_queue_is_buried(database_url: str) -> None:
    async with engine(database_url) as stage:
        publisher = await stage.executor.transport.publisher("stranger")
        fact = FiringDue(tenant="default", firing_id=uuid.uuid4())

        await publisher.publish(Out("scheduler.attempts", "attempt.finished", dump([fact])))
        await publisher.close()

        (letter,) = await dead_letters(stage, 1)
        assert "firing.due does not belong on scheduler.recorder.finished" == letter.headers["x-reason"]
