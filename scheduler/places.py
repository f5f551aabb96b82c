"""Where an address with a password in it is found, for what keeps no secrets: ``{env:NAME}`` or ``{file:PATH}``."""

import os
import re
from pathlib import Path
from typing import Final

from scheduler.errors import ConfigurationError

_PLACE: Final = re.compile(r"\{(env|file):([^{}]{1,4096})\}")


def read_place(place: str, what: str) -> str:
    """Return what is there, in this process's environment or in a file, without white space around it; ``what`` it is.

    Reads a small file at most.

    Raises:
        ConfigurationError: there is nothing; never repeats what is there.
    """
    match = _PLACE.fullmatch(place)
    if match is None:
        raise ConfigurationError(f"{what} is given as {{env:NAME}} or {{file:PATH}}")
    kind, name = match.groups()
    try:
        found = (os.environ.get(name, "") if kind == "env" else Path(name).read_text(encoding="utf-8")).strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{place} cannot be read: {error}") from None
    if not found:
        raise ConfigurationError(f"{place} is empty or not set")
    return found
