"""What the rows say for /metrics, as each actor's role may read them."""

import json

import pytest

from scheduler.clock import VirtualClock
from scheduler.metric_names import FROM_ROWS
from scheduler.roles import ACTOR_ROLES
from scheduler.store.definitions import delete_job
from scheduler.store.measuring import Measuring
from scheduler.store.roles import as_role
from scheduler.store.stores import Stores
from schemas.vocabulary import Outcome
from tests.support.engine import engine
from tests.support.executing import noon

TRUE = {"command": ["true"]}


@pytest.mark.parametrize("actor", ["ticker", "dispatcher", "recorder"])
async def test_each_actor_may_look_and_sees_what_happened(database_url: str, actor: str) -> None:
    clock = VirtualClock(noon())
    async with engine(database_url) as stage:
        stage.executor.script = {"fails": [Outcome.FAILED], "waits": [None]}
        timer = [{"cron": "0 3 1 1 *"}]
        await stage.apply(
            good={"run": TRUE, "triggers": timer, "metrics": ["rows"]},
            fails={"run": TRUE},
            waits={"run": TRUE},
            after={"run": TRUE, "needs": ["waits"]},
            gone={"run": TRUE, "triggers": timer},
        )
        await delete_job(stage.stores.main, "default", "gone", clock=clock)
        for job in ("good", "fails", "waits"):
            await stage.fire(job)
        await stage.settled(2)
        await stage.until("SELECT state = 'running' FROM runs WHERE job_name = 'waits'")
        await stage.db.execute(
            "UPDATE attempts SET metrics = $1 FROM runs WHERE runs.id = run_id AND job_name = 'good'",
            json.loads('{"rows": 7, "other": 1}'),
        )
        stores = await Stores.open(as_role(database_url, ACTOR_ROLES[actor]), name=actor)
        try:
            measuring = Measuring(stores.main, clock, with_jobs=actor == "recorder")
            first = await measuring()
            await stage.db.execute("UPDATE jobs SET deleted_at = now()")
            same = await measuring()
        finally:
            await stores.close()

    values = {(name, label): value for name, label, value in first.values}
    assert same is first
    assert (values["schedules", "active"], values["schedules", "deleted"]) == (1, 1)
    assert (values["runs", "running"], values["runs", "dead"], values["runs", "waiting"]) == (1, 1, 1)
    assert (values["recent", "succeeded"], values["success", ""]) == (1, 0.5)
    assert values["duration", ""] >= 0
    assert {("wait", "0.5"), ("wait", "0.99"), ("lag", "0.5"), ("lag", "0.99")} <= set(values)
    assert {name for name, _ in values} <= {named.source for named in FROM_ROWS}
    assert list(first.jobs) == ([("default", "good", "rows", 7.0)] if actor == "recorder" else [])
