"""A slow job, and what becomes of its firings and runs."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from schemas.commands import StartAttempt
from schemas.vocabulary import Outcome
from tests.support.engine import Engine

TRUE: Mapping[str, Any] = {"command": ["true"]}
RUNS = "SELECT array_agg(state ORDER BY id) FROM runs WHERE job_name = 'slow'"
WATCH = """
CREATE TABLE watched (job text, active int);
CREATE FUNCTION watch() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = scheduler AS $$ BEGIN
    INSERT INTO watched SELECT NEW.job_name, count(*) FROM scheduler.runs
    WHERE job_id = NEW.job_id AND state IN ('ready', 'queued', 'running', 'backing_off');
    RETURN NULL;
END $$;
CREATE TRIGGER watch AFTER INSERT OR UPDATE OF state ON runs FOR EACH ROW EXECUTE FUNCTION watch();
"""
"""Notes how many runs of the job have a place, whenever one takes or leaves it."""


def slow(overlap: str, **fields: Any) -> dict[str, Any]:
    return {"run": TRUE, "overlap": overlap, **fields}


async def begin(stage: Engine, overlap: str, **fields: Any) -> UUID:
    """Have one run of the job ``slow`` under way; return its id."""
    stage.executor.script["slow"] = [None]
    await stage.apply(slow=slow(overlap, **fields))
    await stage.fire("slow")
    run: UUID = await stage.until("SELECT id FROM runs WHERE state = 'running'")
    await stage.grant(0)
    return run


async def fired(stage: Engine, job: str = "slow") -> tuple[str, str | None, UUID | None, UUID | None]:
    """Fire and return verdict, reason, run and the run in the way."""
    firing = await stage.fire(job)
    await stage.until("SELECT verdict FROM firings WHERE id = $1", firing)
    row = await stage.db.fetchrow("SELECT verdict, reason, run_id, blocking_run_id FROM firings WHERE id = $1", firing)
    assert row is not None
    return row["verdict"], row["reason"], row["run_id"], row["blocking_run_id"]


async def end(stage: Engine, index: int, outcome: Outcome = Outcome.SUCCEEDED) -> None:
    """End the ``index``-th attempt of the job that is granted, whatever other jobs are granted before it."""

    def granted() -> list[tuple[StartAttempt, UUID]]:
        return [grant for grant in stage.executor.granted if grant[0].order.job == "slow"]

    await stage.heard(lambda: len(granted()) > index)
    await stage.executor.finish(*granted()[index], outcome)


async def states(stage: Engine, *wanted: str) -> None:
    await stage.until(RUNS, holds=lambda found: found == list(wanted))
