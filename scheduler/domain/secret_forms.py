"""The forms in which programs print a value that is to be kept secret."""

import json
from base64 import b64encode
from collections.abc import Iterator
from typing import Final
from urllib.parse import quote, quote_plus

LEAST_CHARS: Final = 4
"""Shorter forms are not told of: every text would be full of them."""
_LEAST_LINE_CHARS: Final = 16
"""A line of a secret of several lines, a key file say, is a form by itself from this length on."""
_URL_SAFE: Final = str.maketrans("+/", "-_")


def forms_of(value: str) -> Iterator[str]:
    """Yield the value, its lines, and the value as JSON, URL-encoded, and in base64 at any place of a longer text.

    What a program does to a secret beyond that, such as spelling it backwards, is not foreseen.
    """
    return (form for form in _forms(value.strip()) if len(form) >= LEAST_CHARS)


def _forms(plain: str) -> Iterator[str]:
    yield plain
    yield " ".join(plain.splitlines())  # as in a reason, which is one line
    yield from (line.strip() for line in plain.splitlines() if len(line.strip()) >= _LEAST_LINE_CHARS)
    yield json.dumps(plain)[1:-1]
    yield json.dumps(plain, ensure_ascii=False)[1:-1]
    yield from (quote(plain, safe=""), quote(plain), quote_plus(plain))
    raw = plain.encode("utf-8", "replace")
    if len(raw) >= LEAST_CHARS:
        alone = b64encode(raw).decode()
        yield from (alone, alone.rstrip("="), alone.translate(_URL_SAFE), alone.rstrip("=").translate(_URL_SAFE))
    for before in range(3):
        if len(raw) < LEAST_CHARS + before:
            continue
        encoded = b64encode(b"\0" * before + raw).decode().rstrip("=")
        # The first and the last characters also hold bits of what stands beside the value.
        middle = encoded[(before * 8 + 5) // 6 : (before + len(raw)) * 8 // 6]
        yield middle
        yield middle.translate(_URL_SAFE)
