"""What no live executor could ever run is said by the commands that look at definitions."""

from pathlib import Path

import pytest

from scheduler.store.pool import connect
from tests.support.cli import Cli

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]  # each command is a process

JOBS = """
version: 1
source: here
jobs:
  fits: {run: {command: [x]}, resources: {cpu: 1.0, disk: 1GiB}}
  large: {run: {command: [x]}, resources: {memory: 900GiB}}
  full: {run: {command: [x]}, resources: {disk: 900GiB}}
  special: {run: {command: [x]}, labels: {gpu: a100}}
"""
ARRIVE = """
INSERT INTO executors (boot_id, name, pool, slots, busy, cpu, memory_bytes, disk_bytes, handlers, host, pid, version)
VALUES (gen_random_uuid(), 'e', 'default', 1, 0, 2.0, 8e9, 1e11, '{}', 'h', 1, '0')
"""
SAID = [
    "jobs.full: no live executor of pool default has disk space of 900GiB: its runs would wait",
    "jobs.large: no live executor of pool default has memory of 900GiB: its runs would wait",
    "jobs.special: no live executor of pool default has label gpu=a100: its runs would wait",
]


@pytest.mark.parametrize("command", [("validate",), ("plan",), ("apply",)], ids=lambda command: command[0])
async def test_a_command_warns_of_what_would_wait(tmp_path: Path, database_url: str, command: tuple[str, ...]) -> None:
    (tmp_path / "jobs.yaml").write_text(JOBS)
    cli = Cli(tmp_path)
    cli.environment["DATABASE_URL"] = database_url
    before = cli.json(*command, "jobs.yaml")
    db = await connect(database_url, name="test")
    await db.execute(ARRIVE)
    await db.close()

    after = cli.json(*command, "jobs.yaml")

    said = sorted(f"{warning['path']}: {warning['message']}" for warning in after["warnings"])
    assert ([], SAID) == (before["warnings"], said)
    assert {(None, None, None, None)} == {
        tuple(warning[key] for key in ("file", "line", "column", "allowed")) for warning in after["warnings"]
    }
