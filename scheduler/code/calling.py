"""How the function of a job is called."""

import inspect
from collections.abc import Callable
from functools import lru_cache
from typing import Any


def arguments_for(function: Callable[..., Any], params: dict[str, Any], context: object) -> dict[str, Any]:
    """Return the keyword arguments of a call: the params by name.

    A parameter named ``params`` that no param fills gets the whole mapping instead; one named
    ``ctx`` gets the HandlerContext.
    """
    wanted = _parameters_of(function) if inspect.isfunction(function) else inspect.signature(function).parameters
    takes_mapping = "params" in wanted and "params" not in params
    arguments: dict[str, Any] = {"params": params} if takes_mapping else dict(params)
    if takes_mapping:
        arguments |= {name: value for name, value in params.items() if name in wanted}
    if "ctx" in wanted and "ctx" not in params:
        arguments["ctx"] = context
    return arguments


@lru_cache(maxsize=1024)  # to look costs more than a short job does
def _parameters_of(function: Callable[..., Any]) -> frozenset[str]:
    return frozenset(inspect.signature(function).parameters)
