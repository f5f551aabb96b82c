"""The HTTP interface before two tenants, one of them in a database of its own: each is answered from where it lives."""

import asyncio
import random
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from scheduler.clock import SystemClock
from scheduler.store.homes import Homes
from scheduler.store.moving import Place, found_tenant
from scheduler.store.pool import connect
from scheduler.store.registry import Home, register_home
from scheduler.store.tenants import Terms
from tests.integration.test_api_runs import INSERT
from tests.integration.test_api_streams import heard, skipped
from tests.integration.test_api_tokens import HS256, token
from tests.support.api import TRUE, Api, serving
from tests.support.services import free_port

CLOCK = SystemClock()


class Town:
    """``api`` knows both tenants; ``own`` is a connection of the test's to the database of the tenant own."""

    def __init__(self, api: Api, homes: Homes, own: "asyncpg.Connection[asyncpg.Record]", folder: Path) -> None:
        self.api = api
        self.homes = homes
        self.own = own
        self.folder = folder


@pytest.fixture
async def town(database_url: str, empty_database_url: str, tmp_path: Path) -> AsyncIterator[Town]:
    async with serving(database_url, **HS256 | {"http": {"auth": "keys,jwt"}}) as api:
        (tmp_path / "own").write_text(empty_database_url)
        await found_tenant(api.stores.main, "own", Terms(), Place(f"{{file:{tmp_path / 'own'}}}", empty_database_url))
        homes = Homes(api.site.opened(), CLOCK, random.Random(1), size=2, allow_insecure=False)
        await homes.look()
        own = await connect(empty_database_url, name="test")
        yield Town(api, homes, own, tmp_path)
        await own.close()
        await homes.stop()


async def test_jobs_firings_and_runs_are_where_their_tenant_lives(town: Town) -> None:
    api, keys = town.api, {tenant: await town.api.key("admin", tenant) for tenant in ("default", "own")}
    links = {"default": api.db, "own": town.own}
    said: dict[str, tuple[str, str]] = {}
    for tenant, key in keys.items():
        made = await api.ask("PUT", "/api/v1/jobs/here", TRUE, key=key)
        other = await api.ask("PUT", f"/api/v1/jobs/of-{tenant}", TRUE, key=key)
        asked = await api.post("/api/v1/jobs/here/run", {"params": {"of": tenant}}, key=key)
        assert [201, 201, 202] == [made.status, other.status, asked.status], made.text + asked.text
        run = uuid.uuid4()
        await links[tenant].execute(INSERT, run, "ready", False, tenant, "here")
        said[tenant] = (str(run), asked.json["firing"])

    for tenant, key in keys.items():
        run_id, firing = said[tenant]
        jobs = (await api.get("/api/v1/jobs", key=key)).json["jobs"]
        assert {"here", f"of-{tenant}"} == {job["name"] for job in jobs}
        assert [firing] == [row["id"] for row in (await api.get("/api/v1/firings", key=key)).json["firings"]]
        assert [run_id] == [row["id"] for row in (await api.get("/api/v1/runs", key=key)).json["runs"]]
        assert 200 == (await api.get(f"/api/v1/runs/{run_id}/why", key=key)).status
        stored = "SELECT id::text, params FROM firings"
        assert [(firing, {"of": tenant})] == [tuple(row) for row in await links[tenant].fetch(stored)]
        done = {(row["kind"], row["name"]) for row in (await api.get("/api/v1/audit", key=key)).json["audit"]}
        assert {("job", "here"), ("job", f"of-{tenant}")} <= done


async def test_nothing_of_one_is_shown_or_changed_for_the_other(town: Town) -> None:
    api, keys = town.api, {tenant: await town.api.key("admin", tenant) for tenant in ("default", "own")}
    runs = {}
    for tenant, link in (("default", api.db), ("own", town.own)):
        await api.ask("PUT", f"/api/v1/jobs/of-{tenant}", TRUE, key=keys[tenant])
        runs[tenant] = uuid.uuid4()
        await link.execute(INSERT, runs[tenant], "ready", False, tenant, f"of-{tenant}")

    for tenant, other in (("default", "own"), ("own", "default")):
        key = keys[tenant]
        asked = [
            await api.get(f"/api/v1/jobs/of-{other}", key=key),
            await api.get(f"/api/v1/runs/{runs[other]}", key=key),
            await api.post(f"/api/v1/runs/{runs[other]}/cancel", key=key),
            await api.post(f"/api/v1/jobs/of-{other}/run", key=key),
            await api.ask("DELETE", f"/api/v1/jobs/of-{other}", key=key),
        ]
        assert {404} == {answer.status for answer in asked}
        page = await api.get("/api/v1/runs?limit=1", key=key)
        assert [str(runs[tenant])] == [row["id"] for row in page.json["runs"]]
    cancelled = await api.post(f"/api/v1/runs/{runs['own']}/cancel", key=keys["own"])
    assert ("cancelled", 202) == (cancelled.json["state"], cancelled.status)
    assert "cancelled" == await town.own.fetchval("SELECT state FROM runs")
    assert "ready" == await api.db.fetchval("SELECT state FROM runs")


async def test_events_and_the_feed_are_where_their_tenant_lives(town: Town) -> None:
    api = town.api
    links = {"default": api.db, "own": town.own}
    for tenant, link in links.items():
        key = token(tenant=tenant, roles=["admin"])
        made = await api.ask("PUT", "/api/v1/jobs/here", TRUE, key=key)
        told = await api.post("/api/v1/events", {"topic": f"of.{tenant}", "id": "o-1"}, key=key)
        again = await api.post("/api/v1/events", {"topic": f"of.{tenant}", "id": "o-1"}, key=key)
        assert [201, 202, 200] == [made.status, told.status, again.status], made.text + told.text
        assert [(f"of.{tenant}",)] == [tuple(row) for row in await link.fetch("SELECT topic FROM events")]
        listed = (await api.get("/api/v1/events", key=key)).json["events"]
        assert [told.json["event_id"]] == [row["id"] for row in listed]
        headers = {"Accept": "text/event-stream", "Authorization": f"Bearer {key}"}
        async with api.session.get(api.url("/api/v1/feed"), headers=headers) as feed:
            assert b"retry: 2000\n" == await feed.content.readline()
            await skipped(link, "here")
            assert (await heard(feed.content))["data"]["source"] == f"/{tenant}/here"

    for link in links.values():
        assert 1 == await link.fetchval("SELECT count(*) FROM audit WHERE kind = 'event'")


async def test_a_database_that_is_down_is_503_for_its_tenant_and_nothing_for_others(town: Town) -> None:
    api, keys = town.api, {tenant: await town.api.key("admin", tenant) for tenant in ("default", "own")}
    assert 200 == (await api.get("/api/v1/jobs", key=keys["own"])).status
    (town.folder / "own").write_text(f"postgresql://postgres@127.0.0.1:{free_port()}/gone")
    await register_home(api.stores.main, "own", Home(f"{{file:{town.folder}/./own}}"))  # it is opened anew
    await town.homes.look()

    answers = await asyncio.gather(*(api.get("/api/v1/runs", key=key) for key in keys.values()))

    assert [200, 503] == [answer.status for answer in answers]
    assert "application/problem+json" in answers[1].headers["Content-Type"]
    assert "postgres@" not in answers[1].text
