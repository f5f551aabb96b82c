"""What bodies of requests may say: nothing but their keys, each of its own type."""

from datetime import UTC, datetime
from typing import Annotated, Final

from fastapi import Header
from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict

_FIRST: Final = datetime(1970, 1, 2, tzinfo=UTC)
_LAST: Final = datetime(9989, 12, 31, tzinfo=UTC)


def _usable(at: datetime) -> datetime:
    if not _FIRST <= at <= _LAST:
        raise ValueError(f"times lie between {_FIRST.date()} and {_LAST.date()}")
    return at.astimezone(UTC)


Moment = Annotated[AwareDatetime, AfterValidator(_usable)]
"""A time with its offset."""


Trace = Annotated[str | None, Header(alias="traceparent", description="W3C trace context that what is started joins.")]


class Want(BaseModel):
    model_config = ConfigDict(
        extra="forbid",
        allow_inf_nan=False,
        hide_input_in_errors=True,
        use_attribute_docstrings=True,
        validate_by_name=False,
        validate_by_alias=True,
    )
