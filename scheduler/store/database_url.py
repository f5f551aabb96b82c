"""Whether the way to a database is safe to use."""

import os

from scheduler.domain.addresses import database_refusal
from scheduler.errors import ConfigurationError


def check_database_url(url: str, *, allow_insecure: bool = False) -> None:
    """Refuse a URL that lets passwords and data go to another host in plain text; loopback and sockets may.

    What the URL does not say is taken from ``PGSSLMODE``, as the driver does. ``allow_insecure`` is meant for a
    private network such as that of a compose file.

    Raises:
        ConfigurationError: says in one line what is wrong; never repeats the password.
    """
    refusal = None if allow_insecure else database_refusal(url, os.environ.get("PGSSLMODE"))
    if refusal is not None:
        raise ConfigurationError(refusal)
