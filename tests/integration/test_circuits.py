"""A target that does not work holds the runs of all its jobs back, at no cost of attempts, until one try succeeds."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from actors.executing.settings import ExecutorSettings
from actors.executor import Executor
from scheduler.clock import SystemClock
from scheduler.sandbox.address_guard import NetworkPolicy
from scheduler.sandbox.handlers import HandlerRegistry
from scheduler.sandbox.runner import Runner
from scheduler.store.circuits import answered
from scheduler.store.why import ask_gates
from schemas.run_spec import HttpSpec
from schemas.vocabulary import Outcome
from tests.support.engine import Engine, engine


class Target:
    """An HTTP server that answers with ``status``, and how often it was asked."""

    def __init__(self) -> None:
        self.status = 503
        self.asked: list[str] = []
        self.hold: asyncio.Event | None = None

    async def answer(self, request: web.Request) -> web.Response:
        self.asked.append(request.path)
        if self.hold is not None:
            await self.hold.wait()
        return web.Response(status=self.status)

    @asynccontextmanager
    async def serve(self) -> AsyncIterator[int]:
        app = web.Application()
        app.router.add_route("*", "/{path}", self.answer)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        try:
            yield site._server.sockets[0].getsockname()[1]  # type: ignore[union-attr]
        finally:
            if self.hold is not None:  # cleanup waits a minute for a request that is held back
                self.hold.set()
            await runner.cleanup()


@asynccontextmanager
async def executor(stage: Engine, tmp_path, name: str = "real") -> AsyncIterator[Executor]:
    runner = Runner(
        code_dir=tmp_path, run_dir=tmp_path / "runs", handlers=HandlerRegistry(), clock=SystemClock(),
        network=NetworkPolicy.from_cidrs(["127.0.0.0/8"], ["1-65535"]),
    )  # fmt: skip
    settings = ExecutorSettings(name, "default", tmp_path / name, slots=1)
    made = Executor(settings, stage.executor.transport, runner, SystemClock(), stage.dispatcher.rng)
    await made.start()
    try:
        yield made
    finally:
        await made.stop()


def job(port: int, path: str, **breaker: object) -> dict[str, object]:
    return {
        "run": {"http": {"url": f"http://127.0.0.1:{port}/{path}", "breaker": {"failures": 3, **breaker}}},
        "overlap": "allow",
    }


OPEN = "SELECT opened_at IS NOT NULL FROM circuits"


async def why(stage: Engine, name: str) -> str:
    run = await stage.until("SELECT id FROM runs WHERE job_name = $1 AND state = 'ready'", name)
    found = await ask_gates(stage.stores.main, "default", run, lease_s=30.0)
    return next(gate.reason for gate in found.gates if gate.gate == "circuit" and gate.holds)


async def test_it_opens_after_failures_in_a_row_holds_every_job_and_closes_by_one_try(
    database_url: str, tmp_path
) -> None:
    target = Target()
    async with target.serve() as port, engine(database_url, alive=False) as stage, executor(stage, tmp_path):
        await stage.apply(first=job(port, "first", open_for="1h"), second=job(port, "second", open_for="1h"))
        for _ in range(3):
            await stage.fire("first")
        await stage.settled(3)
        assert await stage.until(OPEN)
        for _ in range(4):
            await stage.fire("second")
        await stage.until("SELECT count(*) FROM runs WHERE state = 'ready'", holds=lambda n: n == 4)
        assert f"127.0.0.1:{port}: 3 attempts in a row had no proper answer, the circuit is open until" in await why(
            stage, "second"
        )
        assert ["/first"] * 3 == target.asked

        target.status, target.hold = 200, asyncio.Event()
        await stage.db.execute("UPDATE circuits SET open_until = now()")
        await stage.until("SELECT probe_run FROM circuits")
        await stage.heard(lambda: len(target.asked) == 4)
        await stage.dispatcher.sweep(stage.stores.main)
        assert 3 == await stage.db.fetchval("SELECT count(*) FROM runs WHERE state = 'ready'")
        assert "while one run tries" in await why(stage, "second")
        target.hold.set()

        states = await stage.settled(7)
        assert {"first": ["failed"] * 3, "second": ["succeeded"] * 4} == states
        assert {1} == {row["attempt"] for row in await stage.db.fetch("SELECT attempt FROM runs")}
        assert not await stage.db.fetchval(OPEN)


async def test_executors_share_a_circuit_and_only_one_of_them_tries(database_url: str, tmp_path) -> None:
    target = Target()
    async with (
        target.serve() as port, engine(database_url, alive=False) as stage,
        executor(stage, tmp_path, "one"), executor(stage, tmp_path, "two"),
    ):  # fmt: skip
        await stage.apply(first=job(port, "first", open_for="1h", failures=4))
        target.hold = asyncio.Event()
        for _ in range(4):
            await stage.fire("first")
        await stage.heard(lambda: len(target.asked) == 2)  # one at each of the two
        target.hold.set()
        await stage.settled(4)
        await stage.until(OPEN)
        names = await stage.db.fetch("SELECT DISTINCT executor FROM attempts ORDER BY 1")

        target.status, target.hold = 200, asyncio.Event()
        for _ in range(3):
            await stage.fire("first")
        await stage.until("SELECT count(*) FROM runs WHERE state = 'ready'", holds=lambda n: n == 3)
        await stage.db.execute("UPDATE circuits SET open_until = now()")
        await stage.heard(lambda: len(target.asked) == 5)
        await stage.dispatcher.sweep(stage.stores.main)
        waiting = await stage.db.fetchval("SELECT count(*) FROM runs WHERE state = 'ready'")
        target.hold.set()

        assert await stage.settled(7) == {"first": ["failed"] * 4 + ["succeeded"] * 3}
    assert [row["executor"] for row in names] == ["one", "two"]
    assert waiting == 2


@asynccontextmanager
async def open_circuit(database_url: str, folder: Path) -> AsyncIterator[tuple[Engine, Target]]:
    """Open a stage on which three runs of ``first`` have failed: nobody tries for an hour."""
    target = Target()
    async with target.serve() as port, engine(database_url, alive=False) as stage, executor(stage, folder):
        await stage.apply(first=job(port, "first", open_for="1h"))
        for _ in range(3):
            await stage.fire("first")
        await stage.settled(3)
        await stage.until(OPEN)
        yield stage, target


async def test_a_try_that_fails_opens_it_for_as_long_again(database_url: str, tmp_path) -> None:
    async with open_circuit(database_url, tmp_path) as (stage, target):
        for _ in range(2):
            await stage.fire("first")
        await stage.until("SELECT count(*) FROM runs WHERE state = 'ready'", holds=lambda n: n == 2)

        await stage.db.execute("UPDATE circuits SET open_until = now()")

        await stage.until("SELECT failures FROM circuits", holds=lambda failures: failures == 4)
        assert await stage.db.fetchval("SELECT open_until > now() AND probe_run IS NULL FROM circuits")
        assert (4, 1) == (len(target.asked), await stage.db.fetchval("SELECT count(*) FROM runs WHERE state = 'ready'"))


async def test_a_try_is_over_together_with_what_it_says_of_its_target(database_url: str, tmp_path) -> None:
    """Else the next run would try as well: it is offered as soon as nobody tries."""
    async with open_circuit(database_url, tmp_path) as (stage, target):
        target.hold = asyncio.Event()
        await stage.fire("first")
        await stage.db.execute("UPDATE circuits SET open_until = now()")
        await stage.heard(lambda: len(target.asked) == 4)
        tries = await stage.db.fetchval("SELECT probe_run FROM circuits")

        async with stage.db.transaction():
            await stage.db.execute("SELECT FROM circuits FOR UPDATE")
            target.hold.set()
            await stage.until("SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype = 'transactionid'")
            assert "running" == await stage.db.fetchval("SELECT state FROM runs WHERE id = $1", tries)

        await stage.until("SELECT failures FROM circuits", holds=lambda failures: failures == 4)
        assert "failed" == await stage.db.fetchval("SELECT state FROM runs WHERE id = $1", tries)


async def test_a_proper_answer_in_between_counts_anew_and_jobs_without_a_breaker_are_free(
    database_url: str, tmp_path
) -> None:
    target = Target()
    async with target.serve() as port, engine(database_url, alive=False) as stage, executor(stage, tmp_path):
        free = {"run": {"http": {"url": f"http://127.0.0.1:{port}/free"}}, "overlap": "allow"}
        await stage.apply(first=job(port, "first", open_for="1h"), free=free)
        done = 0
        for status in (500, 429, 404, 500, 503):
            target.status = status
            await stage.fire("first")
            await stage.settled(done := done + 1)
        counted = "SELECT failures FROM circuits WHERE opened_at IS NULL"
        await stage.until(counted, holds=lambda failures: failures == 2)
        await stage.fire("first")
        await stage.until(OPEN)

        await stage.fire("free")

        assert ["failed"] == (await stage.settled(done + 2))["free"]
        assert "/free" == target.asked[-1]


@pytest.mark.parametrize(
    ("outcome", "seen", "said"),
    [
        (Outcome.SUCCEEDED, {"http_status": 204}, True),
        (Outcome.FAILED, {"http_status": 404}, True),
        (Outcome.FAILED, {"http_status": 429}, False),
        (Outcome.FAILED, {"http_status": 502}, False),
        (Outcome.FAILED, {"exception": "ClientConnectorError"}, False),
        (Outcome.FAILED, {"reason": "there is no secret TOKEN: nothing was sent"}, None),
        (Outcome.TIMED_OUT, {}, False),
        (Outcome.CANCELLED, {}, None),
        (Outcome.LOST, {}, None),
    ],
)
def test_what_counts_as_a_proper_answer(outcome: Outcome, seen: dict[str, Any], *, said: bool | None) -> None:
    from datetime import UTC, datetime

    from schemas.facts import AttemptFinished

    at = datetime(2030, 1, 1, tzinfo=UTC)
    ids = {name: uuid.uuid4() for name in ("run_id", "lease_token", "claim_id", "boot_id")}
    fact = AttemptFinished(
        tenant="default", attempt=1, executor="e", end_seq=1, outcome=outcome, started_at=at, finished_at=at,
        elapsed_s=0.0, **ids, **seen,
    )  # fmt: skip

    assert said is answered(fact)


@pytest.mark.parametrize(
    ("url", "key", "circuit"),
    [
        ("https://Hooks.example.com/a/{{ run.id }}", None, "hooks.example.com:443"),
        ("http://10.0.0.1:8080", None, "10.0.0.1:8080"),
        ("http://user:word@x.example/a", None, "x.example:80"),
        ("http://{{ params.host }}/a", "mine", "mine"),
    ],
)
def test_the_circuit_is_that_of_host_and_port_or_of_the_key(url: str, key: str | None, circuit: str) -> None:
    assert circuit == HttpSpec.model_validate({"url": url, "breaker": {"key": key}}).circuit


@pytest.mark.parametrize(("url", "key"), [("http://{{ params.host }}/a", None), ("http://x.example", "{{ run.id }}")])
def test_a_circuit_is_known_before_a_run_is_made(url: str, key: str | None) -> None:
    with pytest.raises(ValueError, match=r"breaker.key is needed, without templates"):
        HttpSpec.model_validate({"url": url, "breaker": {"key": key}})
