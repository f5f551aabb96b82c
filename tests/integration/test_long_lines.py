"""A job that is slower than its firings: ``health`` says how long its line has grown."""

from scheduler.store.reading import LONG_LINE, list_long_lines
from tests.support.ticking import Stage


async def wait_in_line(stage: Stage, job: str, runs: int) -> None:
    await stage.db.execute(
        """INSERT INTO runs (id, tenant, job_id, job_version, job_name, flow_id, fired_at, state, pool, priority, turn)
           SELECT gen_random_uuid(), 'default', id, 1, name, id, now(), 'waiting', 'default', 2, 'awaits'
           FROM jobs CROSS JOIN generate_series(1, $2) WHERE name = $1""",
        job, runs,
    )  # fmt: skip


async def test_health_warns_of_a_long_line_and_of_no_other(stage: Stage) -> None:
    await stage.apply(slow=[{"every": "1h"}], fair=[{"every": "1h"}])
    await wait_in_line(stage, "slow", LONG_LINE + 1)
    await wait_in_line(stage, "fair", LONG_LINE)

    assert {"slow": LONG_LINE + 1} == await list_long_lines(stage.stores.main, "default")
    said = await stage.command("health")
    assert f"job slow: {LONG_LINE + 1} runs wait in line for their turn" in said
    assert "fair" not in said
