"""Commands that change something are in the audit log by whoever ran them; `scheduler audit` shows it."""

import asyncio
import getpass
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from scheduler.cli.main import command_line
from tests.support.cli import Cli
from tests.support.embedded import query

JOBS = "version: 1\njobs:\n  {name}: {{run: {{command: ['true']}}, triggers: [{{cron: '0 2 * * *'}}]}}\n"
RUN = """
WITH made AS (
INSERT INTO scheduler.runs (id, tenant, job_id, job_version, job_name, flow_id, fired_at, state, pool, priority,
                            has_downstream, finished_at)
SELECT gen_random_uuid(), tenant, id, 1, name, gen_random_uuid(), now(), '{state}', 'default', 2, true,
       CASE WHEN '{state}' = 'failed' THEN now() END FROM scheduler.jobs WHERE name = 'a' RETURNING id)
SELECT id::text FROM made
"""
EXECUTOR = """
INSERT INTO scheduler.executors (boot_id, name, pool, host, pid, version, slots, busy, handlers)
VALUES (gen_random_uuid(), 'box', 'default', 'desk', 1, '1', 1, 0, '{}')
"""
CHANGING = {
    "apply": "apply b.yaml",
    "backfill": "backfill a --from 2026-01-01 --to 2026-01-02",
    "backfills cancel": "backfills cancel {backfill}",
    "dead retry": "dead retry {failed}",
    "dead discard": "dead discard {failed3}",
    "event publish": "event publish t",
    "executors drain": "executors drain box",
    "executors undrain": "executors undrain box",
    "job pause": "job pause a",
    "job resume": "job resume a",
    "job disable": "job disable a",
    "job enable": "job enable a",
    "key create": "key create ci",
    "key revoke": "key revoke ci",
    "token revoke": "token revoke --id t-1",
    "pause": "pause --all",
    "resume": "resume --all",
    "pool set": "pool set big --queue-limit 5",
    "queue drain": "queue drain big",
    "queue resume": "queue resume big",
    "queue pause": "queue pause big",
    "run cancel": "run cancel {ready}",
    "run retry": "run retry {failed2}",
    "queue clear": "queue clear default --yes",
    "tenant create": "tenant create shop",
    "tenant set": "tenant set shop --weight 2",
    "tenant suspend": "tenant suspend shop",
    "tenant activate": "tenant activate shop",
    "tenant move": "tenant move shop --database {{env:SHOP}}",
    "trigger": "trigger a",
    "retention run": "retention run",
    "job delete": "job delete a",
}
"""In an order in which each has something to do."""
OTHERS = {
    "audit", "backfills list", "backfills show", "broker check", "broker declare", "broker rebuild", "broker users",
    "calendar show", "calendars", "config show", "db migrate", "dead list", "dead show", "doctor", "event list",
    "event show", "export", "feed", "firings", "health", "job show", "jobs", "key list", "next", "plan", "pool list",
    "queue list", "retention show", "run logs", "run show", "run why", "runs", "simulate", "start dispatcher",
    "start executor", "start ingress", "start recorder", "start ticker", "start watcher", "stats", "tenant list",
    "tenant migrate", "token list", "up", "validate",
}  # fmt: skip
"""They read, serve, or change no row that somebody owns; `broker rebuild`: test_audit.py, by its function."""


def leaves(command: Any, path: str = "") -> Iterator[str]:
    inner = getattr(command, "commands", None)
    if inner is None:
        yield path
    for name, one in (inner or {}).items():
        yield from leaves(one, f"{path} {name}".strip())


def test_every_command_is_known_to_change_something_or_not() -> None:
    found = set(leaves(command_line()))

    assert CHANGING.keys() <= found
    assert set() == found - CHANGING.keys() - OTHERS


@pytest.mark.slow
def test_every_command_that_changes_something_is_written_as_who_ran_it(
    tmp_path: Path, database_url: str, empty_database_url: str
) -> None:
    cli = Cli(tmp_path)
    cli.environment |= {"DATABASE_URL": database_url, "SHOP": empty_database_url, "LOGNAME": "mallory"}
    for name in ("a", "b"):
        (tmp_path / f"{name}.yaml").write_text(JOBS.format(name=name))
    cli("apply", "a.yaml")

    def asked(statement: str) -> Any:
        return asyncio.run(query(database_url, statement))

    asked(EXECUTOR)
    known = {word: asked(RUN.format(state="failed")) for word in ("failed", "failed2", "failed3")}
    known |= {word: asked(RUN.format(state="ready")) for word in ("ready", "ready2")}
    silent = []
    for name, line in CHANGING.items():
        before = asked("SELECT count(*) FROM scheduler.audit")
        cli(*line.format(**known).split())
        if asked("SELECT count(*) FROM scheduler.audit") == before:
            silent.append(name)
        if name == "backfill":
            known["backfill"] = asked("SELECT id::text FROM scheduler.backfills")

    assert [] == silent
    assert [("id", "t-1")] == [(row["kind"], row["value"]) for row in cli.json("token", "list")["revoked"]]
    assert "one of --id and --subject" in cli("token", "revoke", "--id", "t-1", "--subject", "ann", code=2)
    actors = asked("SELECT array_agg(DISTINCT actor) FROM scheduler.audit")
    assert [f"cli:{getpass.getuser()}@{socket.gethostname()}"] == actors


@pytest.mark.slow
def test_audit_filters_and_prints(tmp_path: Path, database_url: str) -> None:
    cli = Cli(tmp_path)
    cli.environment["DATABASE_URL"] = database_url
    (tmp_path / "a.yaml").write_text(JOBS.format(name="a"))
    cli("apply", "a.yaml")
    cli("job", "pause", "a", "--note", "holiday")

    page = cli.json("audit", "--object", "job:a", "--since", "1h", "--limit", "1")
    [entry] = page["audit"]
    assert ("pause", "job", "a", {"note": "holiday"}) == tuple(
        entry[key] for key in ("action", "kind", "name", "after")
    )
    assert "create" == cli.json("audit", "--after", page["next"])["audit"][0]["action"]
    assert [] == cli.json("audit", "--actor", "key:*")["audit"]
    assert [] == cli.json("audit", "--denied", "--object", "a")["audit"]
    assert "pause" in cli("audit", "--action", "pause", "--object", "job")
    assert "no such entries" in cli("audit", "--action", "drain")
    assert "is none of" in cli("audit", "--action", "eat", code=2)
    assert entry["actor"] in cli("job", "show", "a")
