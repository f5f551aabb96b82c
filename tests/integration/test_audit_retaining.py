"""The audit log does not grow for ever: whole days go when their time is over, and nothing before."""

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import asyncpg
import pytest

from scheduler.clock import SystemClock
from scheduler.config import Settings
from scheduler.errors import ConfigurationError
from scheduler.roles import ACTOR_ROLES
from scheduler.store.retaining import Done, foresee, retain
from scheduler.store.roles import as_role
from tests.support.retaining import Kept, opened, plan

ENTRIES = """
INSERT INTO audit (id, at, tenant, actor, action, kind, name)
SELECT (left(first_id(made)::text, 14) || substr(gen_random_uuid()::text, 15))::uuid, made, tenant, 'cli:ann', 'pause',
       'job', 'job-' || n
FROM unnest('{400,399,20,0}'::int[]) AS days, unnest('{shop,default}'::text[]) AS tenant, generate_series(1, 300) AS n,
     LATERAL (SELECT now() - make_interval(days => days)) AS m (made)
"""
LEFT = "SELECT count(*) FROM audit WHERE action = 'pause'"


@pytest.fixture
async def kept(database_url: str) -> AsyncIterator[Kept]:
    async with opened(database_url) as found:
        await found.db.execute(ENTRIES)
        yield found


async def retained(kept: Kept, folder: Path | None = None, **changed: object) -> Done:
    settings = replace(plan(folder, compress=False), **changed)  # type: ignore[arg-type]
    done = await retain(kept.ticker.main, settings, SystemClock(), asked=True)
    assert done is not None
    return done


async def test_days_that_are_over_go_and_are_archived_by_tenant(kept: Kept, tmp_path: Path) -> None:
    before = {
        str(row["id"]) for row in await kept.db.fetch("SELECT id FROM audit WHERE at < now() - interval '9 months'")
    }

    most = (await foresee(kept.owner.main, plan()))["most"]
    done = await retained(kept, tmp_path)

    assert (most["audit"], done.forgotten_audit, await kept.db.fetchval(LEFT)) == (1200, 1200, 1200)
    found = {path: [json.loads(line) for line in path.read_text().splitlines()] for path in tmp_path.glob("*/*")}
    assert {str(line["id"]) for lines in found.values() for line in lines} == before
    assert sorted((path.parent.name, path.name[10:17], len(lines)) for path, lines in found.items()) == [
        ("default", "-audit-", 300),
        ("default", "-audit-", 300),
        ("shop", "-audit-", 300),
        ("shop", "-audit-", 300),
    ]
    assert all({line["tenant"] for line in lines} == {path.parent.name} for path, lines in found.items())
    told = await kept.db.fetch("SELECT after FROM audit WHERE action = 'prune' AND name = 'audit' ORDER BY id")
    assert [row["after"]["entries"] for row in told] == [600, 600]
    assert (await retained(kept)).forgotten_audit == 0


async def test_what_cannot_be_archived_stays(kept: Kept, tmp_path: Path) -> None:
    (tmp_path / "shop").write_text("a file where a folder is to be")

    with pytest.raises(ConfigurationError, match=r"retention\.archive"):
        await retained(kept, tmp_path)

    assert await kept.db.fetchval(LEFT) == 2400
    (tmp_path / "shop").unlink()
    assert (await retained(kept, tmp_path)).forgotten_audit == 1200
    assert len(list(tmp_path.glob("*/*-audit-*.jsonl"))) == 4


async def test_nobody_can_have_young_entries_deleted(kept: Kept, database_url: str) -> None:
    with pytest.raises(ValueError, match="audit"):
        Settings.model_validate({"retention": {"audit": "7d"}})

    assert (await retained(kept, audit=timedelta(0))).forgotten_audit == 1200
    assert await kept.db.fetchval(LEFT) == 1200
    for actor in ACTOR_ROLES.keys() - {"ticker"}:
        link = await asyncpg.connect(as_role(database_url, ACTOR_ROLES[actor]))
        try:
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await link.fetch("SELECT scheduler.forget_audit('1 year')")
        finally:
            await link.close()
