"""Which network addresses a job's HTTP request may reach: asked at connect, for every address.

Spelling does not matter here (``0x7f.1``, a rebinding name, a redirect): what is judged is the
address that the socket is about to connect to.
"""

import re
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any

from scheduler.errors import ConfigurationError

# ipaddress.is_global of Python 3.11 calls several of these global.
_REFUSED_V4 = tuple(IPv4Network(text) for text in ("192.88.99.0/24", "168.63.129.16/32"))
_LAST_PORT = 65_535
_PUBLIC_V6 = IPv6Network("2000::/3")
_REFUSED_V6 = tuple(IPv6Network(text) for text in ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20"))


class AddressRefusedError(OSError):
    """The address is neither public nor allowed by the operator."""


@dataclass(frozen=True, slots=True)
class NetworkPolicy:
    """The operator's word on where jobs may connect: public addresses, and the networks in ``allowed``."""

    allowed: tuple[IPv4Network | IPv6Network, ...] = ()
    ports: tuple[range, ...] = (range(1, _LAST_PORT + 1),)
    """Ports that may be connected to, on any address."""

    @classmethod
    def from_cidrs(cls, cidrs: Iterable[str], ports: Iterable[str] = (f"1-{_LAST_PORT}",)) -> "NetworkPolicy":
        """Return the policy that also allows these networks, such as ``10.1.0.0/16``, and only these ports.

        A port is a number or a range, such as ``8000-8999``.

        Raises:
            ConfigurationError: one of them is not a network or a port.
        """
        try:
            allowed = tuple(ip_network(cidr) for cidr in cidrs)
        except ValueError as error:
            raise ConfigurationError(f"not a network: {error}") from None
        return cls(allowed, tuple(port_range(text) for text in ports))

    def permits(self, address: IPv4Address | IPv6Address) -> bool:
        """Whether a job may connect to ``address``."""
        address = _unwrapped(address)
        if any(address.version == network.version and address in network for network in self.allowed):
            return True
        if isinstance(address, IPv4Address):
            return address.is_global and not address.is_multicast and not any(address in net for net in _REFUSED_V4)
        return address in _PUBLIC_V6 and not any(address in net for net in _REFUSED_V6)

    def open_socket(self, addr_info: tuple[Any, ...]) -> socket.socket:
        """Return a socket for one answer of getaddrinfo; the ``socket_factory`` of aiohttp.

        Raises:
            AddressRefusedError: the address or the port is not permitted.
        """
        family, kind, protocol, _, sockaddr = addr_info
        if family not in (socket.AF_INET, socket.AF_INET6) or not self.permits(ip_address(sockaddr[0].split("%")[0])):
            raise AddressRefusedError("the address is not allowed")
        if not any(sockaddr[1] in ports for ports in self.ports):
            raise AddressRefusedError("the port is not allowed")
        return socket.socket(family, kind, protocol)


def port_range(text: str) -> range:
    """Return the ports that ``text`` names: ``443``, or ``8000-8999``.

    Raises:
        ConfigurationError: it names none.
    """
    first, dash, last = text.partition("-")
    numbers = (first, last) if dash else (first, first)
    if all(re.fullmatch(r"[0-9]{1,5}", number) for number in numbers):
        found = range(int(numbers[0]), int(numbers[1]) + 1)
        if found and found[0] >= 1 and found[-1] <= _LAST_PORT:
            return found
    raise ConfigurationError(f"not a port or a range of ports: {text!r}")


def _unwrapped(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address
