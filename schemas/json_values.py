"""What may be stored as JSON: less than Python's json module reads and writes."""

import math
import re
from typing import Annotated, Any, Final

from pydantic import AfterValidator

MAX_JSON_DEPTH: Final = 64

_UNSTORABLE: Final = re.compile("[\0\ud800-\udfff]")


def check_json(value: Any) -> None:
    """Refuse what PostgreSQL could not store, or nobody could read back.

    Raises:
        ValueError: a type that JSON lacks, NaN or infinity, NUL or half a surrogate pair in text, a
            key that is not text, or nested deeper than MAX_JSON_DEPTH. One plain sentence.
    """
    level = [value]
    for _ in range(MAX_JSON_DEPTH + 1):
        below: list[Any] = []
        for item in level:
            if isinstance(item, str):
                if _UNSTORABLE.search(item):
                    raise ValueError("contains NUL or half of a surrogate pair, which is not allowed")
            elif isinstance(item, dict):
                if not all([isinstance(key, str) for key in item]):  # noqa: C419 - three times as fast
                    raise ValueError("a key is not text")
                below += item
                below += item.values()
            elif isinstance(item, list | tuple):
                below += item
            else:
                _check_plain(item)
        if not below:
            return
        level = below
    raise ValueError(f"nested deeper than {MAX_JSON_DEPTH}")


def _check_plain(item: Any) -> None:
    if isinstance(item, float):
        if not math.isfinite(item):
            raise ValueError("a number is infinite or undefined, which JSON cannot say")
    elif item is not None and not isinstance(item, bool | int):
        raise ValueError(f"a value of type {type(item).__name__} is not JSON")


def _checked(value: Any) -> Any:
    check_json(value)
    return value


JsonValue = Annotated[Any, AfterValidator(_checked)]
JsonObject = Annotated[dict[str, Any], AfterValidator(_checked)]
