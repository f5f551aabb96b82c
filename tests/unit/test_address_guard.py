import socket
from ipaddress import ip_address

import pytest

from scheduler.errors import ConfigurationError
from scheduler.sandbox.address_guard import AddressRefusedError, NetworkPolicy


@pytest.mark.parametrize("address", ["8.8.8.8", "1.1.1.1", "2606:4700::1111", "::ffff:8.8.8.8"])
def test_public_addresses_are_permitted(address):
    assert NetworkPolicy().permits(ip_address(address))


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "127.9.9.9",
        "0.0.0.0",
        "10.0.0.1",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "224.0.0.1",
        "239.1.2.3",
        "255.255.255.255",
        "192.88.99.1",
        "168.63.129.16",
        "192.0.2.1",
        "198.18.0.1",
        "240.0.0.1",
        "::1",
        "::",
        "::ffff:127.0.0.1",
        "::127.0.0.1",
        "::ffff:169.254.169.254",
        "fe80::1",
        "fec0::1",
        "fc00::1",
        "fd00::1",
        "ff02::1",
        "64:ff9b::7f00:1",
        "64:ff9b:1::1",
        "2002:7f00:1::",
        "2001::1",
        "2001:db8::1",
        "3fff::1",
        "100::1",
    ],
)
def test_all_other_addresses_are_refused(address):
    assert not NetworkPolicy().permits(ip_address(address))


def test_the_operator_may_allow_networks():
    policy = NetworkPolicy.from_cidrs(["10.1.0.0/16", "fd00:1::/32"])

    assert policy.permits(ip_address("10.1.2.3"))
    assert policy.permits(ip_address("::ffff:10.1.2.3"))
    assert policy.permits(ip_address("fd00:1::5"))
    assert not policy.permits(ip_address("10.2.0.1"))


def test_what_is_not_a_network_is_named():
    with pytest.raises(ConfigurationError, match=r"10\.1\.0\.1/16"):
        NetworkPolicy.from_cidrs(["10.1.0.1/16"])


def test_only_the_ports_that_are_allowed_get_a_socket():
    policy = NetworkPolicy.from_cidrs([], ["80", "8000-8001"])
    for port in (80, 8000, 8001):
        policy.open_socket((socket.AF_INET, socket.SOCK_STREAM, 6, "", ("8.8.8.8", port))).close()
    for port in (81, 7999, 8002):
        with pytest.raises(AddressRefusedError, match="port"):
            policy.open_socket((socket.AF_INET, socket.SOCK_STREAM, 6, "", ("8.8.8.8", port)))


@pytest.mark.parametrize("text", ["", "0", "x", "80-", "-80", "90-80", "65536", "1-70000", "８０"])
def test_what_is_no_port_is_named(text):
    with pytest.raises(ConfigurationError, match="not a port"):
        NetworkPolicy.from_cidrs([], [text])


def test_no_socket_is_made_for_a_refused_address():
    scoped = (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("fe80::1%1", 80, 0, 1))
    with pytest.raises(AddressRefusedError):
        NetworkPolicy().open_socket(scoped)
    with pytest.raises(AddressRefusedError):
        NetworkPolicy().open_socket((socket.AF_UNIX, socket.SOCK_STREAM, 0, "", ("/run/x",)))
