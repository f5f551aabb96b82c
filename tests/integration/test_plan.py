"""``scheduler plan``: says what apply would do, and does nothing."""

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from scheduler.clock import SystemClock
from scheduler.definitions.load import load
from scheduler.store.definitions import apply
from scheduler.store.rehearsal import rehearse
from scheduler.store.stores import Store, Stores
from tests.support.cli import Cli

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]  # each command is a process

BEFORE = """
version: 1
source: here
jobs:
  stays: {run: {command: [x]}, triggers: [{cron: "0 1 * * *"}]}
  moves: {run: {command: [x]}, triggers: [{id: night, cron: "0 2 * * *"}], timeout: 5m}
  goes: {run: {command: [x]}, triggers: [{every: 1h}]}
"""
AFTER = """
version: 1
source: here
jobs:
  stays: {run: {command: [x]}, triggers: [{cron: "0 1 * * *"}]}
  moves: {run: {command: [x]}, triggers: [{id: night, cron: "0 3 * * *"}], timeout: 6m}
  comes: {run: {command: [x]}, triggers: [{cron: "0 4 * * *"}]}
"""
WORKDAYS = """
version: 1
source: here
calendars: {{works: {{closed: [{day}]}}}}
jobs:
  a:
    run: {{command: [x]}}
    triggers: [{{calendar: {{business_day: every, at: "09:00", calendar: works}}}}]
"""


@pytest.fixture
async def store(database_url: str) -> AsyncIterator[Store]:
    stores = await Stores.open(database_url, name="test", size=2)
    yield stores.main
    await stores.close()


@pytest.fixture
def cli(tmp_path: Path, database_url: str) -> Cli:
    cli = Cli(tmp_path)
    cli.environment["DATABASE_URL"] = database_url
    (tmp_path / "before.yaml").write_text(BEFORE)
    (tmp_path / "after.yaml").write_text(AFTER)
    return cli


async def contents(store: Store) -> dict[str, Any]:
    async with store.connection() as db:
        tables = [row[0] for row in await db.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'scheduler'")]
        return {table: await db.fetch(f"SELECT t::text FROM {table} AS t ORDER BY 1") for table in tables}


async def test_a_rehearsal_writes_nothing_and_says_what_apply_then_does(store: Store, tmp_path: Path):
    (tmp_path / "jobs.yaml").write_text(BEFORE)
    await apply(store, load([tmp_path / "jobs.yaml"]), prune=True, clock=SystemClock())
    (tmp_path / "jobs.yaml").write_text(AFTER)
    wanted = load([tmp_path / "jobs.yaml"])
    before = await contents(store)

    foreseen, standing = await rehearse(store, wanted, prune=True, clock=SystemClock())

    assert before == await contents(store)
    assert {"stays", "moves", "goes"} == standing.keys()
    assert foreseen == await apply(store, wanted, prune=True, clock=SystemClock())
    assert (["comes"], ["moves"], ["goes"]) == (foreseen.created, foreseen.changed, foreseen.removed)


def test_plan_names_differences_and_firings(cli: Cli):
    assert [168, 7, 7] == [job["firings"]["added"] for job in cli.json("plan", "before.yaml")["jobs"]]
    cli("apply", "before.yaml")

    found = cli.json("plan", "after.yaml", "--prune", "--days", "2")
    jobs = {job["name"]: job for job in found["jobs"]}

    assert {"comes": "create", "moves": "change", "goes": "remove"} == {n: job["change"] for n, job in jobs.items()}
    assert ["stays"] == found["unchanged"]
    assert {"path": "timeout.hard", "old": "5m", "new": "6m"} in jobs["moves"]["differences"]
    assert (2, 2) == (jobs["moves"]["firings"]["added"], jobs["moves"]["firings"]["removed"])
    assert (0, 48) == (jobs["goes"]["firings"]["added"], jobs["goes"]["firings"]["removed"])


async def test_plan_counts_what_is_left_of_max_fires(cli: Cli, store: Store):
    head = "version: 1\nsource: here\njobs: "
    (cli.folder / "three.yaml").write_text(head + "{a: {run: {command: [x]}, triggers: [{every: 1h, max_fires: 3}]}}\n")
    (cli.folder / "none.yaml").write_text(head + "{a: {run: {command: [x]}}}\n")
    cli("apply", "three.yaml")
    async with store.connection() as db:
        await db.execute("UPDATE triggers SET fired = 2")

    [found] = cli.json("plan", "none.yaml")["jobs"]

    assert (0, 1) == (found["firings"]["added"], found["firings"]["removed"])


def test_plan_for_people_and_its_exit_codes(cli: Cli):
    cli("apply", "before.yaml")

    said = cli("plan", "after.yaml", "--prune")
    cli("plan", "after.yaml", "--exit-code", code=1)
    cli("plan", "before.yaml", "--exit-code", "--prune")

    assert "change moves\n  triggers.night: " in said
    assert "  timeout.hard: 5m → 6m\n" in said
    assert "  7 firings removed until " in said
    assert said.endswith("1 to create, 1 to change, 1 to remove, 1 unchanged\n")
    assert cli("plan", "before.yaml") == "0 to create, 0 to change, 0 to remove, 3 unchanged\n"


def test_plan_says_which_firings_a_calendar_moves(cli: Cli):
    monday = SystemClock().now().date() + timedelta(days=7 - SystemClock().now().weekday())
    (cli.folder / "before.yaml").write_text(WORKDAYS.format(day="2000-01-03"))
    (cli.folder / "after.yaml").write_text(WORKDAYS.format(day=monday))
    cli("apply", "before.yaml")

    found = cli.json("plan", "after.yaml")

    assert ([], ["a"]) == (found["jobs"], found["unchanged"])
    [works] = found["calendars"]
    assert [f"{monday}T09:00:00Z"] == works["moves"][0]["removed"]
    assert f"removes {monday}T09:00:00Z" in cli("plan", "after.yaml")
    (cli.folder / "none.yaml").write_text("version: 1\nsource: here\n")
    gone = cli.json("plan", "none.yaml", "--prune")
    assert (["works"], "a") == (gone["removed_calendars"], gone["jobs"][0]["name"])
    assert gone["jobs"][0]["firings"]["removed"] >= 4


def test_plan_refuses_what_apply_would(cli: Cli):
    (cli.folder / "wrong.yaml").write_text("version: 1\njobs:\n  a: {run: {command: [x]}, pool: nowhere}\n")

    assert "no pool nowhere" in cli("plan", "wrong.yaml", code=4)
    assert "source" in cli("plan", "wrong.yaml", "--prune", code=65)
