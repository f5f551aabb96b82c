"""The vhost of a tenant that has one to itself."""

from scheduler.errors import ConfigurationError
from scheduler.places import read_place
from scheduler.transport.broker_url import address_of, check_broker_url


def find_vhost(tenant: str, place: str, *, allow_insecure: bool = False) -> str:
    """Return the URL that is found at ``place``, in this process's environment.

    Raises:
        ConfigurationError: there is none, or one that is not safe to use; never repeats it.
    """
    try:
        url = read_place(place, "the broker")
    except ConfigurationError as error:
        raise ConfigurationError(f"tenant {tenant}: {error}") from None
    try:
        check_broker_url(url, allow_insecure=allow_insecure)
        if address_of(url).startswith("memory:"):
            raise ConfigurationError("memory:// lives in one process: a vhost of its own is amqp:// or amqps://")
    except ConfigurationError as error:
        raise ConfigurationError(f"tenant {tenant}: {place}: {error}") from None
    return url
