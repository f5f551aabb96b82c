"""Which broker URLs are refused, and what is said about them."""

import pytest

from scheduler.errors import ConfigurationError
from scheduler.transport.broker_url import address_of, check_broker_url, user_of, vhost_of


@pytest.mark.parametrize(
    "url",
    [
        "memory://",
        "amqp://localhost",
        "amqp://guest:guest@127.0.0.1:5672/",
        "amqp://guest:guest@[::1]:5672/v",
        "amqps://scheduler:pw@mq.example.org/prod",
        "amqps://scheduler:pw@localhost/?no_verify_ssl=1",
    ],
)
def test_loopback_and_tls_are_accepted(url: str) -> None:
    check_broker_url(url)


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://mq", "scheme 'http'"),
        ("amqp://", "no host"),
        ("amqp://mq:99999/", "Port"),
        ("amqp://scheduler:secret@mq/", "without TLS"),
        ("amqps://guest:secret@mq/", "user guest"),
        ("amqps://mq/", "user guest"),
        ("amqps://scheduler:secret@mq/?no_verify_ssl=1", "no_verify_ssl"),
    ],
)
def test_what_cannot_work_or_leaks_is_refused_without_the_password(url: str, why: str) -> None:
    with pytest.raises(ConfigurationError, match=why) as refused:
        check_broker_url(url)

    assert "secret" not in str(refused.value)


def test_a_private_network_may_do_without_tls_but_not_as_guest() -> None:
    check_broker_url("amqp://scheduler:pw@rabbitmq/", allow_insecure=True)

    with pytest.raises(ConfigurationError, match="guest"):
        check_broker_url("amqp://guest:guest@rabbitmq/", allow_insecure=True)


def test_parts_of_a_url() -> None:
    url = "amqp://a%40b:p%2Fw@mq:1234/pro%2Fd"

    assert (user_of(url), vhost_of(url), address_of(url)) == ("a@b", "pro/d", "amqp://mq:1234/pro%2Fd")
    assert vhost_of("amqp://mq") == "/"
    assert address_of("amqps://mq/") == "amqps://mq:5671/"
