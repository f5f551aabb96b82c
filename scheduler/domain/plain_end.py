"""What is left of an attempt's end when the database refuses its particulars."""

from typing import Final

from schemas.facts import AttemptFinished

_MOST: Final = 500
"""Characters of a text that is kept."""
_LARGEST: Final = 2**31 - 1


def plain_end(fact: AttemptFinished, wrong: str) -> AttemptFinished:
    """Return ``fact`` with its outcome and what retries are judged by, all of it storable.

    ``wrong`` becomes its reason. Result and output are left out: one of them is the likely cause,
    and neither decides anything.
    """
    reason = f"recorded without its particulars, which the database refused: {wrong}"
    return fact.model_copy(
        update={
            "executor": _text(fact.executor),
            "reason": _text(f"{reason}; {fact.reason}" if fact.reason else reason),
            "exit_code": _number(fact.exit_code),
            "signal": _number(fact.signal),
            "http_status": _number(fact.http_status),
            "exception": None if fact.exception is None else _text(fact.exception),
            "exception_bases": None if fact.exception_bases is None else tuple(map(_text, fact.exception_bases)),
            "result": None,
            "output": None,
            "usage": None,
            "metrics": None,
            "progress": None,
        }
    )


def _text(text: str) -> str:
    clean = text.replace("\0", "\N{REPLACEMENT CHARACTER}").encode(errors="replace").decode()
    return clean if len(clean) <= _MOST else f"{clean[: _MOST - 1]}…"


def _number(number: int | None) -> int | None:
    return None if number is None or abs(number) > _LARGEST else number
