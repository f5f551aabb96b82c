"""The keys of a job that limit how its runs start, over all executors: ``concurrency``, ``rate``, ``unique``."""

import re
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Any, Final

from pydantic import BeforeValidator, Field, PlainSerializer, WithJsonSchema

from schemas.durations import Duration
from schemas.spec_model import SpecModel, StrictInt, Text
from schemas.vocabulary import OnDuplicate

_RATE: Final = re.compile(r"([0-9]{1,6})/([0-9]{0,3})(s|m|h|d)")
_UNITS_S: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_RATE_PATTERN: Final = "^[0-9]{1,6}/[0-9]{0,3}[smhd]$"


class ConcurrencySpec(SpecModel):
    """At most ``limit`` runs of the tenant with the same ``key`` are queued or running at once."""

    key: Annotated[Text, Field(min_length=1)]
    """What shares the limit, over all jobs that name it; templates are filled in, from run and params."""
    limit: Annotated[StrictInt, Field(ge=1, le=1_000_000)] = 1
    """How many."""


class UniqueSpec(SpecModel):
    """A firing whose key a run of the job had within the time before starts none."""

    key: Annotated[Text, Field(min_length=1)]
    """What must not come twice; templates are filled in, from run and params."""
    within: Annotated[Duration, Field(gt=timedelta(0))]
    """For so long after a run was made, whatever became of it."""
    on_duplicate: OnDuplicate = OnDuplicate.DROP
    """drop: the firing starts nothing; join: the earlier run stands for it."""


@dataclass(frozen=True, slots=True)
class Rate:
    """So many starts in a span, evenly spread: one each ``every``."""

    count: int
    text: str
    every: timedelta

    def __str__(self) -> str:
        return self.text


def parse_rate(text: str) -> Rate:
    """Return the rate that ``text`` says: ``10/s``, ``100/m``, ``5/10m``, ``1/d``.

    Raises:
        ValueError: another form, or zero.
    """
    match = _RATE.fullmatch(text)
    if match is None:
        raise ValueError(f"{text[:64]!r} is no rate; write for instance 10/s, 100/m, 5/10m or 1/d")
    count, many, unit = int(match[1]), int(match[2] or 1), match[3]
    if count == 0 or many == 0:
        raise ValueError(f"{text!r} lets nothing start; use enabled: false")
    return Rate(count, text, timedelta(seconds=many * _UNITS_S[unit]) / count)


def _rate_of(value: Any) -> Rate:
    if isinstance(value, Rate):
        return value
    if isinstance(value, str):
        return parse_rate(value)
    raise ValueError("must be a rate, for instance 10/s, 100/m, 5/10m or 1/d")


RateField = Annotated[
    Rate,
    BeforeValidator(_rate_of),
    PlainSerializer(str, return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "pattern": _RATE_PATTERN, "examples": ["10/s", "100/m"]}),
]
"""A rate in a model: read from text, written as that text in JSON."""
