"""Addresses: what kind they may be, and which ways to a database are worth a warning."""

from ipaddress import ip_network

import pytest

from scheduler.domain.addresses import (
    DATABASE_SCHEMES,
    check_scheme,
    client_of,
    database_refusal,
    database_warning,
    network_of,
)


@pytest.mark.parametrize("url", ["foo://me:hunter2@db/x", "/var/run/postgresql", "db", "postgresql://db:port/x"])
def test_what_is_no_database_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(ValueError, match=r"allowed are postgresql://, postgres://|[Pp]ort") as caught:
        check_scheme(url, DATABASE_SCHEMES)

    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "mode", "judged"),
    [
        ("postgresql://db.example.com/x", None, "refused"),
        ("postgresql://me:pw@10.0.0.5/x?sslmode=prefer", None, "refused"),
        ("postgresql://db/x?sslmode=disable", "verify-full", "refused"),
        ("postgresql:///x?host=one,two", None, "refused"),
        ("postgresql:///x?host=localhost,two", "allow", "refused"),
        ("postgresql://db.example.com/x?sslmode=require", "verify-full", "warned"),
        ("postgresql://db.example.com/x?sslmode=verify-ca", None, "warned"),
        ("postgresql://db.example.com/x?sslmode=verify-full", None, "taken"),
        ("postgresql://db.example.com/x", "verify-full", "taken"),
        ("postgresql://127.0.0.1/x", None, "taken"),
        ("postgresql://[::1]:5432/x", None, "taken"),
        ("postgresql://localhost/x", None, "taken"),
        ("postgresql:///x?host=/run/postgresql", None, "taken"),
    ],
)
def test_a_remote_database_is_to_be_reached_by_tls_and_to_be_verified(url: str, mode: str | None, judged: str) -> None:
    assert (database_refusal(url, mode) is not None) is (judged == "refused")
    assert (database_warning(url, mode) is not None) is (judged == "warned")


def test_the_words_name_the_host_and_not_the_password() -> None:
    url = "postgresql://me:hunter2hunter2@db.example.com/x"
    words = (database_refusal(url) or "", database_warning(f"{url}?sslmode=require") or "")

    assert all("db.example.com" in text for text in words)
    assert not any("hunter2" in text for text in words)


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("10.0.0.1", "", "10.0.0.1"),
        ("10.0.0.1", "8.8.8.8", "8.8.8.8"),
        ("10.0.0.1", "1.1.1.1, 8.8.8.8, 10.0.0.2", "8.8.8.8"),
        ("8.8.8.8", "1.1.1.1", "8.8.8.8"),
        ("10.0.0.1", "1.1.1.1, nonsense", "nonsense"),
        ("fd00::1", "8.8.8.8", "8.8.8.8"),
    ],
)
def test_only_proxies_of_ours_say_where_a_request_came_from(peer: str, forwarded: str, client: str) -> None:
    assert client_of(peer, forwarded, [ip_network("10.0.0.0/8"), ip_network("fd00::/8")]) == client


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("8.8.8.8", "8.8.8.8"),
        ("::ffff:8.8.8.8", "8.8.8.8"),
        ("2001:DB8:0:1:2:3:4:5", "2001:db8:0:1::/64"),
        ("2001:db8:0:1::", "2001:db8:0:1::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::1", "::/64"),
        ("nonsense", "nonsense"),
        ("", ""),
    ],
)
def test_of_ipv6_a_host_may_have_a_whole_network_and_is_counted_by_it(address: str, network: str) -> None:
    assert network == network_of(address)
