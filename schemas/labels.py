"""Labels: what an executor says of itself, and a job or a pool demands, as in ``gpu=a100``."""

import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Final

from pydantic import BeforeValidator, Field

_KEY: Final = "[A-Za-z0-9][A-Za-z0-9._/-]{0,62}"
_VALUE: Final = "[A-Za-z0-9][A-Za-z0-9._-]{0,62}"
_PAIR: Final = re.compile(rf"({_KEY})=({_VALUE})")


def _as_text(value: Any) -> Any:
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, int) else value


LabelKey = Annotated[str, Field(pattern=f"^{_KEY}$")]
LabelValue = Annotated[str, BeforeValidator(_as_text), Field(pattern=f"^{_VALUE}$")]
Labels = dict[LabelKey, LabelValue]
"""At most one value for each key; a whole number and true or false stand for their text."""


def label_texts(labels: Mapping[str, str]) -> list[str]:
    """Return ``labels`` as they are written, compared and stored: ``key=value``, sorted."""
    return sorted(f"{key}={value}" for key, value in labels.items())


def read_labels(texts: Iterable[str]) -> dict[str, str]:
    """Return the labels that ``key=value`` texts say.

    Raises:
        ValueError: another form, or a key that is given twice.
    """
    found: dict[str, str] = {}
    for text in texts:
        match = _PAIR.fullmatch(text)
        if match is None:
            raise ValueError(f"{text[:140]!r} is no label; write key=value, as in gpu=a100")
        if match[1] in found:
            raise ValueError(f"label {match[1]} is given twice")
        found[match[1]] = match[2]
    return found


def labels_of(value: Any) -> Any:
    """Return what a setting says: a mapping, a list of ``key=value``, or such texts with commas between."""
    if isinstance(value, str):
        value = [part.strip() for part in value.split(",") if part.strip()]
    return read_labels(value) if isinstance(value, list | tuple) else value
