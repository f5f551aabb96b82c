"""What addresses of databases and brokers look like, and what to say of one that is not safe."""

import ipaddress
from collections.abc import Iterator, Sequence
from typing import Final
from urllib.parse import parse_qs, urlsplit

_OF_ONE_HOST: Final = 64
"""Bits of an IPv6 address that say the network: a host may take any address in it."""

DATABASE_SCHEMES: Final = ("postgresql", "postgres")
BROKER_SCHEMES: Final = ("amqp", "amqps", "memory")
MANAGEMENT_SCHEMES: Final = ("http", "https")

_PLAIN: Final = frozenset({"disable", "allow", "prefer"})
"""Modes that go on in plain text, or may."""


def check_scheme(url: str, schemes: Sequence[str]) -> None:
    """Refuse a URL of another kind.

    Raises:
        ValueError: says what is allowed; never repeats more of the URL than its scheme.
    """
    scheme, separator, _ = url.partition("://")
    if not separator or scheme not in schemes:
        found = f"scheme {scheme!r}" if separator else "no URL"
        raise ValueError(f"{found}, allowed are {', '.join(f'{name}://' for name in schemes)}")
    _ = urlsplit(url).port  # raises for one that is no number


def host_of(url: str) -> str | None:
    """Return the host that ``url`` names; None without one."""
    return urlsplit(url).hostname


def client_of(peer: str, forwarded: str, proxies: Sequence[ipaddress.IPv4Network | ipaddress.IPv6Network]) -> str:
    """Return where a request came from: the last address of X-Forwarded-For that no proxy of ours put itself there.

    What is not from one of ``proxies`` may say what it likes: then it is the ``peer``.
    """
    found = peer
    for said in reversed(forwarded.split(",") if forwarded else []):
        if not _is_within(found, proxies):
            break
        found = said.strip()
    return found


def network_of(address: str) -> str:
    """Return what somebody at ``address`` is counted by: of IPv6 its network, else the address as it is."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(found, ipaddress.IPv4Address):
        return str(found)
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(ipaddress.ip_network((int(found), _OF_ONE_HOST), strict=False))


def _is_within(address: str, networks: Sequence[ipaddress.IPv4Network | ipaddress.IPv6Network]) -> bool:
    try:
        return any(ipaddress.ip_address(address) in network for network in networks)
    except ValueError:
        return False


def is_loopback(host: str | None) -> bool:
    """Whether ``host`` is this machine by its name or address; False for None."""
    if host is None:
        return False
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def database_warning(url: str, mode: str | None = None) -> str | None:
    """Return what is unsafe about the way to the database at ``url``, though it is taken; None when nothing is.

    ``mode`` is the sslmode of the environment, for a URL that names none.
    """
    remote, mode = _way(url, mode)
    if not remote or mode in {"verify-full", *_PLAIN}:
        return None
    return (
        f"the database at {', '.join(remote)} is reached with sslmode={mode}, which does not make sure who answers: "
        "add ?sslmode=verify-full to its URL"
    )


def database_refusal(url: str, mode: str | None = None) -> str | None:
    """Return why the way to the database at ``url`` is not to be taken: in plain text to another host; else None.

    ``mode`` is the sslmode of the environment, for a URL that names none. The driver's own default
    goes on in plain text when the server offers no TLS.
    """
    remote, mode = _way(url, mode)
    if not remote or mode not in _PLAIN:
        return None
    return (
        f"the database at {', '.join(remote)} may be reached without TLS (sslmode={mode}): add ?sslmode=verify-full "
        "to its URL, or set SCHEDULER_INSECURE_DATABASE=true where the network is private"
    )


def _way(url: str, mode: str | None) -> tuple[list[str], str]:
    """Return the hosts of ``url`` that are not this machine, and the sslmode."""
    query = parse_qs(urlsplit(url).query)
    remote = [host for host in _hosts(url, query.get("host", [])) if not host.startswith("/") and not is_loopback(host)]
    return remote, query.get("sslmode", [mode or "prefer"])[0]


def _hosts(url: str, named: Sequence[str]) -> Iterator[str]:
    host = urlsplit(url).hostname
    for part in (*([host] if host else []), *named):
        yield from part.split(",")
