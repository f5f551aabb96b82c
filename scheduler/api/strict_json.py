"""JSON bodies read strictly: what readers of JSON disagree about is refused."""

import json
import math
from typing import Any

from schemas.json_values import check_json


def read_json(data: bytes) -> Any:
    """Return the value of ``data``.

    Raises:
        ValueError: not UTF-8, no JSON, a key twice, NaN or infinity, NUL or half a surrogate pair, nested
            too deep. One plain sentence that repeats nothing of it.
    """
    try:
        value = json.loads(
            data.decode("utf-8"), object_pairs_hook=_object, parse_constant=_refuse_constant, parse_float=_float
        )
    except UnicodeDecodeError:
        raise ValueError("the body is not UTF-8") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"no JSON: {error.msg} at line {error.lineno} column {error.colno}") from None
    except RecursionError:
        raise ValueError("nested too deep") from None
    check_json(value)
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key is given twice")
    return found


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no number of JSON")


def _float(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError("a number is too large")
    return value
