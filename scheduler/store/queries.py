"""Loads SQL from ``sql/*.sql``: one ``-- name: word`` block is one query; and what it takes: columns."""

import re
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.resources import files
from typing import Any, Final

_BLOCK: Final = re.compile(r"^-- name: (?P<name>\w+)\n(?P<text>.*?)(?=^-- name: |\Z)", re.MULTILINE | re.DOTALL)


@cache
def queries(aggregate: str) -> Mapping[str, str]:
    """Return the queries of ``sql/<aggregate>.sql`` by name."""
    text = (files("scheduler.store") / "sql" / f"{aggregate}.sql").read_text(encoding="utf-8")
    return {match["name"]: match["text"].strip() for match in _BLOCK.finditer(text)}


def columns(rows: Iterable[Iterable[Any]], count: int = 0) -> list[list[Any]]:
    """Turn rows into the columns that ``unnest`` takes: ``count`` empty ones where there are no rows."""
    return [list(column) for column in zip(*rows, strict=True)] or [[] for _ in range(count)]
