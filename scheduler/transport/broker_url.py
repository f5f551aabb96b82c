"""What a broker's URL says, and whether it is safe to use."""

from typing import Final
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

from scheduler.domain.addresses import BROKER_SCHEMES, is_loopback
from scheduler.errors import ConfigurationError

_PORTS: Final = {"amqp": 5672, "amqps": 5671}


def check_broker_url(url: str, *, allow_insecure: bool = False) -> None:
    """Refuse a URL that cannot work or gives secrets away; loopback may do as it likes.

    ``allow_insecure`` lets ``amqp://`` without TLS reach another host; it is meant for a private
    network such as that of a compose file. It does not make the user ``guest`` acceptable.

    Raises:
        ConfigurationError: says in one line what is wrong; never repeats the password.
    """
    parts = _split(url)
    if parts.scheme == "memory" or is_loopback(parts.hostname):
        return
    if user_of(url) == "guest":
        raise ConfigurationError(f"broker {address_of(url)}: user guest is for loopback only, make a user of its own")
    if parts.scheme == "amqp" and not allow_insecure:
        raise ConfigurationError(f"broker {address_of(url)}: amqp:// without TLS to another host, use amqps://")
    if parse_qs(parts.query).get("no_verify_ssl", ["0"]) != ["0"]:
        raise ConfigurationError(f"broker {address_of(url)}: no_verify_ssl is for loopback only")


def check_management_url(url: str, *, allow_insecure: bool = False) -> None:
    """Refuse to send an operator's password in plain text to another host, or to be guest there.

    Raises:
        ConfigurationError: says in one line what is wrong; never repeats the password.
    """
    parts = urlsplit(url)
    if is_loopback(parts.hostname):
        return
    if (parts.username or "guest") == "guest":
        raise ConfigurationError(f"management at {parts.hostname}: user guest is for loopback only")
    if parts.scheme == "http" and not allow_insecure:
        raise ConfigurationError(f"management at {parts.hostname}: http:// without TLS to another host, use https://")


def address_of(url: str) -> str:
    """Return ``scheme://host:port/vhost``, without user and password, for logs and errors."""
    parts = _split(url)
    if parts.scheme == "memory":
        return "memory://"
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    return f"{parts.scheme}://{host}:{parts.port or _PORTS[parts.scheme]}{parts.path or '/'}"


def user_of(url: str) -> str:
    """Return the user the broker will know us by; guest when none is named."""
    return unquote(_split(url).username or "guest")


def vhost_of(url: str) -> str:
    return unquote(_split(url).path[1:]) or "/"


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise ConfigurationError(f"broker URL: {error}") from None
    if parts.scheme not in BROKER_SCHEMES:
        raise ConfigurationError(f"broker URL: scheme {parts.scheme!r}, allowed are {', '.join(BROKER_SCHEMES)}")
    if parts.scheme != "memory" and (not parts.hostname or port == 0):
        raise ConfigurationError("broker URL: names no host or no usable port")
    return parts
