"""Every named block of SQL is valid against the migrated schema and has a caller."""

from importlib.resources import files
from pathlib import Path

import pytest

from scheduler.store.pool import connect
from scheduler.store.queries import queries

AGGREGATES = sorted(
    entry.name.removesuffix(".sql")
    for entry in (files("scheduler.store") / "sql").iterdir()
    if entry.name.endswith(".sql")
)
BLOCKS = [(aggregate, name) for aggregate in AGGREGATES for name in queries(aggregate)]
CODE = "\n".join(
    path.read_text(encoding="utf-8")
    for folder in ("scheduler", "actors")
    for path in (Path(__file__).parents[2] / folder).rglob("*.py")
)


@pytest.mark.parametrize("aggregate", AGGREGATES)
async def test_every_block_can_be_prepared(database_url: str, aggregate: str) -> None:
    connection = await connect(database_url, name="test")
    try:
        for name, text in queries(aggregate).items():
            prepared = await connection.prepare(text)
            assert prepared.get_query() == text, name
    finally:
        await connection.close()


@pytest.mark.parametrize(("aggregate", "name"), BLOCKS)
def test_every_block_has_a_caller(aggregate: str, name: str) -> None:
    assert f'"{name}"' in CODE, f"sql/{aggregate}.sql: {name} is used nowhere"
