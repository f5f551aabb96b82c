"""A definition that a newer program has stored harms no other job, and nothing of its own is lost."""

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

from structlog.testing import capture_logs

from actors.dispatcher import Dispatcher
from scheduler.definitions.model import Definitions
from scheduler.store.definitions import apply
from scheduler.store.reading import count_health, list_jobs
from schemas.job_spec import JobSpec
from tests.support.ticking import START, Stage


async def put(stage: Stage, jobs: Mapping[str, dict[str, object]]) -> None:
    """Apply hourly jobs with these keys; what needs nothing is fired by the clock."""
    specs = {
        name: JobSpec.model_validate(
            {"run": {"command": ["true"]}, "triggers": [] if "needs" in keys else [{"every": "1h"}], **keys}
        )
        for name, keys in jobs.items()
    }
    await apply(stage.stores.main, Definitions("default", None, specs, {}, ()), prune=False, clock=stage.clock)


async def overlap_of(stage: Stage, job: str, word: str) -> None:
    """Store an overlap policy; the tenant's revision moves as it does with every change."""
    await stage.db.execute(
        "UPDATE job_versions SET spec = jsonb_set(spec, '{overlap}', to_jsonb($2::text)) "
        "WHERE job_id = (SELECT id FROM jobs WHERE name = $1)",
        job,
        word,
    )
    await stage.db.execute("UPDATE tenants SET revision = revision + 1")


async def verdicts(stage: Stage) -> dict[str, str | None]:
    rows = await stage.db.fetch("SELECT name, verdict FROM firings JOIN jobs ON jobs.id = job_id")
    return {row["name"]: row["verdict"] for row in rows}


async def look_again(stage: Stage, dispatcher: Dispatcher) -> None:
    """Let the time pass after which what was put off is due again."""
    await stage.db.execute("UPDATE firings SET sweep_at = now(), start_until = NULL WHERE verdict IS NULL")
    await dispatcher.sweep(stage.stores.main)


async def test_firings_of_it_and_of_what_leads_to_it_wait_and_others_start(stage: Stage) -> None:
    ticker, dispatcher = await stage.ticker(), await stage.dispatcher()
    await put(stage, {"odd": {}, "even": {}, "before": {}, "odd-below": {"needs": ["before"]}})
    for job in ("odd", "odd-below"):
        await overlap_of(stage, job, "perhaps")
    stage.clock.jump(START + timedelta(hours=1))
    await ticker.tick(stage.stores.main)

    with capture_logs() as logs:
        for _ in range(3):
            await look_again(stage, dispatcher)

    assert {"odd": None, "even": "started", "before": None} == await verdicts(stage)
    told = [line for line in logs if line["event"] == "job.unreadable"]
    assert ["odd", "odd-below"] == sorted(line["job"] for line in told)
    assert all("overlap" in line["error"] and line["tenant"] == "default" for line in told)
    late = await stage.db.fetchval("SELECT min(sweep_at) > now() + interval '10 s' FROM firings WHERE verdict IS NULL")
    assert late
    assert 2 == (await count_health(stage.stores.main, "default", lease_s=30))["put_off_firings"]
    troubles = {row["name"]: row["trouble"] for row in await list_jobs(stage.stores.main, "default")}
    assert [name for name, trouble in troubles.items() if trouble] == ["odd", "odd-below"]

    for job in ("odd", "odd-below"):
        await overlap_of(stage, job, "skip")
    await look_again(stage, dispatcher)

    assert {"odd": "started", "even": "started", "before": "started"} == await verdicts(stage)
    below = await stage.db.fetchval("SELECT state FROM runs WHERE job_name = 'odd-below'")
    assert below == "waiting"


async def test_run_of_a_definition_that_cannot_be_read_waits_for_one_that_can(stage: Stage) -> None:
    ticker, dispatcher = await stage.ticker(), await stage.dispatcher()
    await put(stage, {"odd": {}, "even": {}})
    stage.clock.jump(START + timedelta(hours=1))
    await ticker.tick(stage.stores.main)
    await look_again(stage, dispatcher)
    await overlap_of(stage, "odd", "perhaps")
    await stage.db.execute(
        "INSERT INTO executors (boot_id, name, pool, slots, busy, handlers, host, pid, version) "
        "VALUES (gen_random_uuid(), 'e', 'default', 9, 0, '{}', 'h', 1, '0')"
    )

    other = await stage.dispatcher()
    await other.sweep(stage.stores.main)

    states = {row["job_name"]: row["state"] for row in await stage.db.fetch("SELECT job_name, state FROM runs")}
    assert {"odd": "queued", "even": "queued"} == states


async def test_commands_that_foretell_say_what_they_cannot_read(stage: Stage, tmp_path: Path) -> None:
    await put(stage, {"odd": {}, "newer": {}})
    await stage.zone_of("odd", "Mars/Olympus")
    await overlap_of(stage, "newer", "perhaps")
    file = tmp_path / "jobs.yaml"
    job = "{run: {command: ['true']}, triggers: [{cron: '0 1 * * *'}]}"
    file.write_text(f"version: 1\njobs:\n  odd: {job}\n  newer: {job}\n")

    said = await stage.command("plan", str(file))
    asked = await stage.command("next", "--job", "odd")

    assert "Traceback" not in said + asked
    assert 2 == said.count("its firings until now are not known: ")
    assert 2 == said.count("7 firings from now on, until ")
    assert "overlap" in said
    assert "when odd fires is not known: trigger " in asked
    assert "Mars/Olympus" in asked


async def test_next_of_a_job_shows_what_can_be_read_and_what_is_left_of_max_fires(stage: Stage) -> None:
    await put(
        stage, {"half": {"triggers": [{"every": "1h", "id": "good", "max_fires": 3}, {"every": "2h", "id": "bad"}]}}
    )
    await stage.db.execute("""UPDATE triggers SET spec = '{"sometimes": 1}' WHERE key = 'bad'""")
    await stage.db.execute("UPDATE triggers SET fired = 1")

    said = await stage.command("next", "--job", "half")

    assert "job half: trigger bad cannot be read" in said
    assert 2 == said.count(" UTC  ")
    assert said.endswith("it fires no more: max_fires is 3\n")
