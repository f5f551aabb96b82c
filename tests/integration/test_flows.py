"""Flows: what a firing starts, what follows it, and what becomes of needs that are not met."""

from collections.abc import Mapping
from typing import Any

import pytest

from schemas.vocabulary import Outcome
from tests.support.engine import engine

TRUE: Mapping[str, Any] = {"command": ["true"]}


def job(*needs: Any, **fields: Any) -> dict[str, Any]:
    return {"run": TRUE, "needs": list(needs), **fields}


async def test_chain_runs_in_order_and_hands_results_down(database_url: str) -> None:
    async with engine(database_url) as stage:
        stage.executor.results["dump"] = {"rows": 7}
        await stage.apply(
            dump=job(),
            verify=job("dump"),
            report={"run": {"command": ["echo", "{{ results['dump'].rows }}"]}, "needs": ["dump", "verify"]},
        )

        await stage.fire("dump")

        assert {"dump": ["succeeded"], "verify": ["succeeded"], "report": ["succeeded"]} == await stage.settled(3)
        assert ["dump", "verify", "report"] == [offer.order.job for offer in stage.executor.offers]
        assert ("echo", "7") == stage.executor.offers[2].order.work.argv  # type: ignore[union-attr]


async def test_failure_skips_what_needs_success_and_starts_what_needs_failure(database_url: str) -> None:
    async with engine(database_url) as stage:
        stage.executor.script["dump"] = [Outcome.FAILED]
        await stage.apply(
            dump=job(), verify=job("dump"), archive=job("verify"),
            page=job({"job": "dump", "when": "failed"}), tidy=job({"job": "archive", "when": "finished"}),
            note=job({"job": "verify", "when": "skipped"}),
        )  # fmt: skip

        await stage.fire("dump")

        assert {
            "dump": ["failed"], "verify": ["skipped"], "archive": ["skipped"], "page": ["succeeded"],
            "tidy": ["succeeded"], "note": ["succeeded"],
        } == await stage.settled(6)  # fmt: skip
        reason = await stage.db.fetchval("SELECT reason FROM runs WHERE job_name = 'verify'")
        assert reason == "upstream dump failed"


async def test_rule_any_starts_with_the_first_need_and_skips_when_none_is_left(database_url: str) -> None:
    async with engine(database_url) as stage:
        stage.executor.script |= {"left": [Outcome.FAILED], "right": [Outcome.SUCCEEDED], "both": [Outcome.FAILED]}
        await stage.apply(
            root=job(), left=job("root"), right=job("root"), both=job("root"),
            one=job("left", "right", needs_rule="any"), none=job("left", "both", needs_rule="any"),
        )  # fmt: skip

        await stage.fire("root")

        states = await stage.settled(6)
        assert (["succeeded"], ["skipped"]) == (states["one"], states["none"])


async def test_delay_holds_the_run_until_its_time(database_url: str) -> None:
    async with engine(database_url) as stage:
        await stage.apply(first=job(), later=job({"job": "first", "delay": "300ms"}))

        await stage.fire("first")
        await stage.settled(2)

        gap = await stage.db.fetchval(
            """SELECT l.claimed_at - f.finished_at FROM runs l, runs f
               WHERE l.job_name = 'later' AND f.job_name = 'first'"""
        )
        assert 0.3 <= gap.total_seconds() < 1.5


async def test_flows_of_two_roots_meet_in_one_run(database_url: str) -> None:
    """C needs A and B, which have clocks of their own: one run of C for each pair of ends, never two."""
    async with engine(database_url) as stage:
        await stage.apply(a=job(), b=job(), c=job("a", "b"), d=job("c"), e=job("a", "d"))

        await stage.fire("a")
        await stage.until("SELECT count(*) FROM runs WHERE job_name = 'a' AND state = 'succeeded'")
        await stage.fire("a")
        await stage.until("SELECT count(*) = 2 FROM runs WHERE job_name = 'a' AND state = 'succeeded'")
        waiting = await stage.db.fetch("SELECT job_name, state FROM runs WHERE job_name > 'b' ORDER BY job_name")
        await stage.fire("b")

        assert [("c", "waiting"), ("d", "waiting"), ("e", "waiting")] == [tuple(row) for row in waiting]
        states = await stage.settled(6)
        assert {
            "a": ["succeeded"] * 2,
            "b": ["succeeded"],
            "c": ["succeeded"],
            "d": ["succeeded"],
            "e": ["succeeded"],
        } == states


async def test_disabled_job_downstream_is_skipped(database_url: str) -> None:
    async with engine(database_url) as stage:
        await stage.apply(a=job(), b=job("a", enabled=False), c=job("b"), d=job({"job": "b", "when": "skipped"}))

        await stage.fire("a")

        states = await stage.settled(4)
        assert (["skipped"], ["skipped"], ["succeeded"]) == (states["b"], states["c"], states["d"])


async def test_flow_keeps_the_definitions_it_began_with(database_url: str) -> None:
    async with engine(database_url) as stage:
        stage.executor.script["first"] = [None]
        await stage.apply(first=job(), second={"run": {"command": ["old"]}, "needs": ["first"]})
        await stage.fire("first")
        await stage.until("SELECT count(*) FROM runs WHERE state = 'running'")

        await stage.apply(second={"run": {"command": ["new"]}, "needs": ["first"]})
        await stage.executor.finish(*await stage.grant(0), Outcome.SUCCEEDED)
        await stage.settled(2)

        assert ("old",) == stage.executor.offers[1].order.work.argv  # type: ignore[union-attr]


async def test_template_that_cannot_be_filled_fails_the_run_and_moves_the_flow_on(database_url: str) -> None:
    async with engine(database_url) as stage:
        await stage.apply(
            a=job(), b={"run": {"command": ["echo", "{{ results['a'].rows }}"]}, "needs": ["a"]},
            c=job({"job": "b", "when": "failed"}),
        )  # fmt: skip

        await stage.fire("a")

        states = await stage.settled(3)
        assert (["failed"], ["succeeded"]) == (states["b"], states["c"])
        reason = await stage.db.fetchval("SELECT reason FROM runs WHERE job_name = 'b'")
        assert "work order cannot be made" in reason


async def test_deep_chain_ends(database_url: str) -> None:
    """A failed root skips a chain of 300 jobs without a run left open."""
    async with engine(database_url) as stage:
        stage.executor.script["j0"] = [Outcome.FAILED]
        await stage.apply(j0=job(), **{f"j{n}": job(f"j{n - 1}") for n in range(1, 300)})

        await stage.fire("j0")

        states = await stage.settled(300)
        assert 299 == sum(state == ["skipped"] for state in states.values())


@pytest.mark.parametrize("overlap", ["skip", "allow"])
async def test_overlap_is_decided_with_the_run_in_the_way_named(database_url: str, overlap: str) -> None:
    async with engine(database_url) as stage:
        stage.executor.script["slow"] = [None]
        await stage.apply(slow=job(overlap=overlap))
        await stage.fire("slow")
        first = await stage.until("SELECT id FROM runs WHERE state = 'running'")

        firing = await stage.fire("slow")
        verdict = await stage.until("SELECT verdict FROM firings WHERE id = $1", firing)

        row = await stage.db.fetchrow("SELECT reason, blocking_run_id FROM firings WHERE id = $1", firing)
        expected = (
            ("skipped_overlap", f"run {first} is active", first) if overlap == "skip" else ("started", None, None)
        )
        assert expected == (verdict, *row)


async def test_params_given_by_hand_are_data_and_never_templates(database_url: str) -> None:
    async with engine(database_url) as stage:
        await stage.apply(
            a={"run": {"command": ["echo", "{{ params.x }}"]}, "params": {"x": "1", "y": "{{ run.job }}"}}
        )

        await stage.fire("a", params={"x": "{{ run.job }} {{"})
        await stage.settled(1)

        order = stage.executor.offers[0].order
        assert ("echo", "{{ run.job }} {{") == order.work.argv  # type: ignore[union-attr]
        assert {"x": "{{ run.job }} {{", "y": "a"} == order.params


async def test_params_of_a_trigger_are_filled_when_it_fires(database_url: str) -> None:
    async with engine(database_url) as stage:
        trigger = {"every": "100ms", "max_fires": 1}
        await stage.apply(
            good=job(triggers=[{**trigger, "params": {"job": "{{ run.job }}"}}]),
            bad=job(triggers=[{**trigger, "params": {"n": "{{ 'x' | int }}"}}]),
        )

        states = await stage.settled(2)

        assert {"good": ["succeeded"], "bad": ["failed"]} == states
        assert {"job": "good"} == stage.executor.offers[0].order.params


async def test_job_added_below_a_waiting_run_is_released_by_its_end(database_url: str) -> None:
    """The waiting run had no follower when it was made; the flow that joins it brings one."""
    async with engine(database_url) as stage:
        await stage.apply(a=job(), b=job(), c=job("a", "b"))
        await stage.fire("a")
        await stage.until("SELECT count(*) FROM runs WHERE job_name = 'a' AND state = 'succeeded'")
        await stage.apply(d=job("c"))

        await stage.fire("b")

        assert {"a": ["succeeded"], "b": ["succeeded"], "c": ["succeeded"], "d": ["succeeded"]} == await stage.settled(
            4
        )


async def test_run_that_waits_for_a_need_edited_away_ends_and_the_job_runs_again(database_url: str) -> None:
    async with engine(database_url) as stage:
        await stage.apply(a=job(), b=job(), e=job(), c=job("a", "b"), d=job("c"))
        await stage.fire("a")
        await stage.until("SELECT count(*) FROM runs WHERE job_name = 'c' AND state = 'waiting'")

        await stage.apply(c=job("a", "e"))
        await stage.settled(3)
        await stage.fire("a")
        await stage.fire("e")

        states = await stage.settled(7)
        assert ["skipped", "succeeded"] == states["c"]
        assert ["skipped", "succeeded"] == states["d"]


async def test_job_stored_by_a_newer_program_stops_nobody(database_url: str) -> None:
    """A rolling upgrade: a definition holds a key that this program does not know."""
    async with engine(database_url) as stage:
        await stage.apply(old=job(), new=job(triggers=[{"every": "100ms", "max_fires": 1}]))
        await stage.db.execute("UPDATE job_versions SET spec = spec || '{\"from_the_future\": 1}'")
        await stage.db.execute("UPDATE triggers SET spec = spec || '{\"from_the_future\": 1}'")
        await stage.db.execute("UPDATE tenants SET revision = revision + 1")

        await stage.fire("old")

        assert {"old": ["succeeded"], "new": ["succeeded"]} == await stage.settled(2)
