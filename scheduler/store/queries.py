"""Loads SQL from ``sql/*.sql``: one ``-- name: word`` block is one query."""

import re
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Final

_BLOCK: Final = re.compile(r"^-- name: (?P<name>\w+)\n(?P<text>.*?)(?=^-- name: |\Z)", re.MULTILINE | re.DOTALL)


@cache
def queries(aggregate: str) -> Mapping[str, str]:
    """Return the queries of ``sql/<aggregate>.sql`` by name."""
    text = (files("scheduler.store") / "sql" / f"{aggregate}.sql").read_text(encoding="utf-8")
    return {match["name"]: match["text"].strip() for match in _BLOCK.finditer(text)}
