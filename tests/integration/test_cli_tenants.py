"""`scheduler tenant` and `--tenant` on the tenant's own database, as commands."""

from pathlib import Path

import pytest

from tests.support.cli import Cli
from tests.support.services import free_port

JOBS = "version: 1\ntenant: {tenant}\njobs:\n  job: {{run: {{command: ['true']}}}}\n"


@pytest.fixture
def cli(tmp_path: Path, database_url: str) -> Cli:
    made = Cli(tmp_path)
    made.environment["DATABASE_URL"] = database_url
    return made


@pytest.mark.slow
def test_quotas_and_suspensions_as_commands(cli: Cli) -> None:
    assert (
        cli("tenant", "create", "shop", "--weight", "2", "--max-jobs", "1", "--max-storage", "1GiB") == "shop: made\n"
    )
    (cli.folder / "jobs.yaml").write_text(JOBS.format(tenant="shop") + "  more: {run: {command: ['true']}}\n")
    why = "error: tenant shop would have 2 jobs, its quota is 1 (max_jobs)\n"
    assert cli("apply", "jobs.yaml", code=4) == why
    cli("tenant", "set", "shop", "--max-jobs", "none")
    cli("apply", "jobs.yaml")

    suspended = cli.json("tenant", "suspend", "shop", "--note", "unpaid")
    assert {"name": "shop", "changed": True, "going_on": 0, "held": 0} == suspended
    assert "tenant shop is suspended" in cli("trigger", "job", "--tenant", "shop", code=4)
    [shop] = [row for row in cli.json("tenant", "list")["tenants"] if row["name"] == "shop"]
    assert ("unpaid", 2, None, 2, 2**30) == tuple(
        shop[name] for name in ("suspend_note", "weight", "max_jobs", "jobs", "max_storage_bytes")
    )
    assert "1GiB" in cli("tenant", "list")
    assert cli("tenant", "activate", "shop") == "shop: activated\n"
    assert cli("tenant", "activate", "shop") == "shop: as it was\n"
    cli("trigger", "job", "--tenant", "shop")
    cli("tenant", "create", "shop", code=4)
    cli("tenant", "suspend", "nobody", code=3)
    cli("tenant", "create", "NO", code=2)
    cli("tenant", "set", "shop", "--max-jobs", "-1", code=2)


@pytest.mark.slow
def test_commands_work_on_the_tenants_own_database(cli: Cli, empty_database_url: str) -> None:
    cli.environment["BANK"] = empty_database_url
    cli("tenant", "create", "bank", "--database", empty_database_url, code=78)
    cli("tenant", "create", "bank", "--database", "{env:NOWHERE}", code=78)
    cli("tenant", "create", "bank", "--database", "{env:BANK}")
    (cli.folder / "jobs.yaml").write_text(JOBS.format(tenant="bank"))

    cli("apply", "jobs.yaml")
    cli("trigger", "job", "--tenant", "bank")

    assert ["job"] == [row["job"] for row in cli.json("firings", "--tenant", "bank")["firings"]]
    assert [] == cli.json("firings", "--tenant", "default")["firings"]
    assert {"applied": [], "tenants": {"bank": []}} == cli.json("db", "migrate")
    (cli.folder / "pools.yaml").write_text(JOBS.format(tenant="bank") + "pools: {gpu: {queue_limit: 3}}\n")
    assert "pools are the operator's" in cli("apply", "pools.yaml", code=4)
    [bank] = [row for row in cli.json("tenant", "list")["tenants"] if row["name"] == "bank"]
    assert "recorders: none is heard of: scheduler start recorder" in bank["trouble"]

    cli.environment["BANK"] = f"postgresql://nobody@127.0.0.1:{free_port()}/bank"
    [bank] = [row for row in cli.json("tenant", "list")["tenants"] if row["name"] == "bank"]
    assert "unavailable" in bank["trouble"]
    assert bank["database"] == "{env:BANK}"
    assert "unavailable" in cli.json("db", "migrate", code=69)["tenants"]["bank"]
    assert "unavailable" in cli("jobs", "--tenant", "bank", code=69)
    cli("tenant", "migrate", "nobody", code=3)


@pytest.mark.slow
def test_a_tenant_moves_as_a_command(cli: Cli, empty_database_url: str) -> None:
    cli.environment["OWN"] = empty_database_url
    (cli.folder / "jobs.yaml").write_text(JOBS.format(tenant="default"))
    cli("apply", "jobs.yaml")

    moved = cli.json("tenant", "move", "default", "--database", "{env:OWN}")

    assert (1, 1) == (moved["rows"]["jobs"], moved["rows"]["job_versions"])
    assert ["job"] == [row["name"] for row in cli.json("jobs")["jobs"]]
    cli("tenant", "move", "default", "--database", "{env:OWN}", code=4)


@pytest.mark.slow
def test_a_broker_is_rebuilt_from_the_databases_of_all(cli: Cli, empty_database_url: str, amqp_url: str) -> None:
    cli.environment |= {"BANK": empty_database_url, "AMQP_URL": amqp_url}
    cli("tenant", "create", "bank", "--database", "{env:BANK}")
    for tenant in ("bank", "default"):
        (cli.folder / "jobs.yaml").write_text(JOBS.format(tenant=tenant))
        cli("apply", "jobs.yaml")
        cli("trigger", "job", "--tenant", tenant)

    rebuilt = cli.json("broker", "rebuild")
    assert ({"firings": 2, "offers": 0, "ends": 0}, {}) == (rebuilt["owed"], rebuilt["troubles"])
    assert any("scheduler.dispatcher.firings.bank" in line for line in rebuilt["done"])

    cli.environment["BANK"] = f"postgresql://nobody@127.0.0.1:{free_port()}/bank"
    said = cli("broker", "rebuild", code=69)
    assert "owed: 1 firings, 0 offers, 0 ends" in said
    assert "bank: database at" in said
