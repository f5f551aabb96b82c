"""What the models of the definitions file share: frozen, no unknown keys, JSON in and out."""

import re
from datetime import datetime
from typing import Annotated, Final

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    PlainSerializer,
    StrictBool,
    StrictInt,
    WithJsonSchema,
)


class SpecModel(BaseModel):
    """Base of what a user writes. ``model_validate(model_dump(mode="json"))`` gives an equal model."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        allow_inf_nan=False,
        hide_input_in_errors=True,
        serialize_by_alias=True,
        use_attribute_docstrings=True,
        # "required" and defaults as a writer of the file sees them
        json_schema_mode_override="validation",
    )


YEARS: Final = range(2, 9990)
"""Of the times that a user may write: offsets and spans can be added without leaving the calendar."""
_MOMENT: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,6})?)?([Zz]|[+-][0-9]{2}:[0-9]{2})?"
)


def parse_moment(text: str) -> datetime:
    """Return the time that ``text`` says: aware with an offset, naive (a wall time) without.

    Raises:
        ValueError: not of the form ``2026-03-01T02:00:00Z``, no such day or hour, or a year not in YEARS.
    """
    if not _MOMENT.fullmatch(text):
        raise ValueError(f"{text[:64]!r} is no time; write for instance 2026-03-01T02:00:00Z or 2026-03-01 02:00")
    try:
        moment = datetime.fromisoformat(text.upper())
    except ValueError as error:
        raise ValueError(f"{text!r} does not exist: {error}") from None
    if moment.year not in YEARS:
        raise ValueError(f"{text!r} has a year that is not planned for; allowed are {YEARS[0]} to {YEARS[-1]}")
    return moment


def _moment_of(value: object) -> datetime:
    if isinstance(value, datetime):
        return value
    if isinstance(value, str):
        return parse_moment(value)
    raise ValueError("must be a time, for instance 2026-03-01T02:00:00Z")


def _text_of(value: object) -> object:
    """Take whole numbers where text is meant, as in ``[sleep, 5]``; the rest must be quoted."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, bool | float) or value is None:
        raise ValueError(f"must be text; put {value!r} in quotes" if value is not None else "must be text, not empty")
    return value


def _no_nul(text: str) -> str:
    if "\0" in text:
        raise ValueError("must not contain the NUL character")
    return text


Moment = Annotated[
    datetime,
    BeforeValidator(_moment_of),
    PlainSerializer(lambda at: at.isoformat().replace("+00:00", "Z"), return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "pattern": f"^{_MOMENT.pattern}$", "examples": ["2026-03-01T02:00:00Z"]}),
]
"""An instant (with offset), or a wall time (without) in the time zone of its trigger."""

Text = Annotated[str, AfterValidator(_no_nul)]
Word = Annotated[
    str,
    BeforeValidator(_text_of),
    AfterValidator(_no_nul),
    WithJsonSchema({"type": ["string", "integer"]}),
]
"""Text where a whole number is also understood: an element of argv, a value of the environment."""

__all__ = ["Moment", "SpecModel", "StrictBool", "StrictInt", "Text", "Word", "parse_moment"]
