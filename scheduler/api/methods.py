"""Which methods an address has: for the answer to one that it does not have."""

import re
from functools import cache

from fastapi import FastAPI
from fastapi.routing import iter_route_contexts
from starlette.routing import compile_path


def methods_of(app: FastAPI, path: str) -> list[str]:
    """Return the methods that ``path`` is answered with; the framework by itself says those of one route."""
    found: set[str] = set()
    for context in iter_route_contexts(app.routes):
        if _pattern(context.path or "").match(path):
            found |= context.methods or set()
    return sorted(found)


@cache
def _pattern(path: str) -> re.Pattern[str]:
    return compile_path(path)[0]
