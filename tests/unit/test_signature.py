"""Who may send to a webhook: published vectors of the schemes, and what must not pass."""

import base64
import hashlib
import hmac
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import pytest

from scheduler.domain.signature import RefusedError, key_of, verify
from scheduler.domain.webhook import answer_of, delivery_of, event_id_of, headers_of
from schemas.vocabulary import VerifyScheme
from schemas.webhook_spec import MOST_SECRETS

S = VerifyScheme
NOW = 1_790_000_000
BODY = b'{"order": 7}'
WHSEC = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"  # of the Standard Webhooks specification
TEXT = "It's a Secret to Everybody"  # of GitHub's documentation
KEYS = {scheme: key_of(scheme, WHSEC if scheme is S.STANDARD_WEBHOOKS else TEXT) for scheme in S}


def mac(key: bytes, content: bytes) -> bytes:
    return hmac.new(key, content, hashlib.sha256).digest()


def signed(scheme: S, body: bytes = BODY, *, key: bytes | None = None, at: int = NOW) -> dict[str, str]:
    """Return the headers that a sender of ``scheme`` sends."""
    key = KEYS[scheme] if key is None else key
    match scheme:
        case S.STANDARD_WEBHOOKS:
            found = base64.b64encode(mac(key, b"msg_1." + str(at).encode() + b"." + body)).decode()
            return {"webhook-id": "msg_1", "webhook-timestamp": str(at), "webhook-signature": f"v1,{found}"}
        case S.GITHUB:
            return {"x-hub-signature-256": f"sha256={mac(key, body).hex()}", "x-github-delivery": "72d3162e"}
        case S.STRIPE:
            return {"stripe-signature": f"t={at},v1={mac(key, str(at).encode() + b'.' + body).hex()}"}
        case S.SLACK:
            found = mac(key, b"v0:" + str(at).encode() + b":" + body).hex()
            return {"x-slack-request-timestamp": str(at), "x-slack-signature": f"v0={found}"}
        case S.TOKEN:
            return {"authorization": f"Bearer {key.decode()}"}
        case S.NONE:
            return {}


def raw(headers: dict[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]


def asked(scheme: S | None, headers: dict[str, str], *keys: bytes, body: bytes = BODY, now: int = NOW) -> bool:
    try:
        verify(scheme, keys or (() if scheme is None else (KEYS[scheme],)), raw(headers), body, now)
    except RefusedError:
        return False
    return True


SIGNING = [S.STANDARD_WEBHOOKS, S.GITHUB, S.STRIPE, S.SLACK]
TIMED = [S.STANDARD_WEBHOOKS, S.STRIPE, S.SLACK]


def test_the_vector_of_standard_webhooks_holds() -> None:
    headers = {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }

    assert asked(S.STANDARD_WEBHOOKS, headers, body=b'{"test": 2432232314}', now=1614265330)


def test_the_vector_of_github_holds() -> None:
    found = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"

    assert asked(S.GITHUB, {"x-hub-signature-256": found, "x-github-delivery": "1"}, body=b"Hello, World!")


def test_the_vector_of_slack_holds() -> None:
    body = (
        b"token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&channel_name="
        b"foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2F"
        b"hooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN&trigger_id="
        b"398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c"
    )
    headers = {
        "x-slack-request-timestamp": "1531420618",
        "x-slack-signature": "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503",
    }

    assert asked(S.SLACK, headers, b"8f742231b10e8888abcd99yyyzzz85a5", body=body, now=1531420618)


@pytest.mark.parametrize("scheme", S)
def test_who_has_the_secret_passes_and_either_secret_will_do(scheme: S) -> None:
    assert asked(scheme, signed(scheme))
    assert asked(scheme, signed(scheme), b"another secret of 16 and more", KEYS[scheme])
    assert asked(scheme, signed(scheme), KEYS[scheme], b"another secret of 16 and more")


@pytest.mark.parametrize("scheme", [scheme for scheme in S if scheme is not S.NONE])
def test_who_has_not_does_not(scheme: S) -> None:
    assert not asked(scheme, signed(scheme, key=b"another secret of 16 and more"))
    assert not asked(scheme, {})
    with pytest.raises(RefusedError, match="no secret that can be used"):
        verify(scheme, (), raw(signed(scheme)), BODY, NOW)
    # What stands in for a secret that is missing opens nothing.
    assert not asked(scheme, signed(scheme, key=bytes(16)), KEYS[scheme])


@pytest.mark.parametrize("scheme", SIGNING)
def test_what_is_signed_is_the_body_as_it_came(scheme: S) -> None:
    assert not asked(scheme, signed(scheme), body=b'{"order":7}')
    assert not asked(scheme, signed(scheme), body=b"")


@pytest.mark.parametrize("scheme", TIMED)
@pytest.mark.parametrize(("off", "passes"), [(300, True), (-300, True), (301, False), (-301, False), (10**9, False)])
def test_the_window_is_300_seconds_inclusive_both_ways(scheme: S, off: int, *, passes: bool) -> None:
    assert asked(scheme, signed(scheme), now=NOW + off) is passes


@pytest.mark.parametrize("text", ["", " 1790000000", "1790000000.0", "1_790_000_000", "+1790000000", "-1", "1" * 12,
                                  "\xb2", "0x1", "1790000000\n"])  # fmt: skip
def test_a_time_is_digits_and_nothing_else(text: str) -> None:
    found = base64.b64encode(mac(KEYS[S.STANDARD_WEBHOOKS], b"msg_1." + text.encode("latin-1") + b"." + BODY)).decode()
    headers = {"webhook-id": "msg_1", "webhook-timestamp": text, "webhook-signature": f"v1,{found}"}

    assert not asked(S.STANDARD_WEBHOOKS, headers)


def standard(signature: str, **more: str) -> dict[str, str]:
    return signed(S.STANDARD_WEBHOOKS) | {"webhook-signature": signature} | more


GOOD = signed(S.STANDARD_WEBHOOKS)["webhook-signature"]


def test_one_valid_signature_of_at_most_sixteen_is_enough() -> None:
    assert asked(S.STANDARD_WEBHOOKS, standard(f"v1a,AAAA v2,x v1, nonsense v1,AA== {GOOD}"))
    assert asked(S.STANDARD_WEBHOOKS, standard("v1,AA== " * 15 + GOOD))
    assert not asked(S.STANDARD_WEBHOOKS, standard("v1,AA== " * 16 + GOOD))
    assert not asked(S.STANDARD_WEBHOOKS, standard(GOOD + " " + "x" * 8192))


@pytest.mark.parametrize("spoilt", [GOOD[:-1], GOOD + "=", GOOD.replace("v1,", "v1,\t"), GOOD.replace("v1,", "v0,"),
                                    GOOD[:-2] + chr(ord(GOOD[-2]) + 1) + "=", GOOD.replace(",", ",!")])  # fmt: skip
def test_base64_is_read_strictly(spoilt: str) -> None:
    assert not asked(S.STANDARD_WEBHOOKS, standard(spoilt))


@pytest.mark.parametrize("delivery", ["", "a.b", "a b", "é", "a" * 257, "a\n"])
def test_an_id_is_visible_ascii_without_a_dot(delivery: str) -> None:
    key, at = KEYS[S.STANDARD_WEBHOOKS], str(NOW).encode()
    found = base64.b64encode(mac(key, delivery.encode("latin-1") + b"." + at + b"." + BODY)).decode()

    assert not asked(S.STANDARD_WEBHOOKS, standard(f"v1,{found}", **{"webhook-id": delivery}))


@pytest.mark.parametrize("scheme", SIGNING)
def test_a_header_that_is_given_twice_is_no_header(scheme: S) -> None:
    for name in signed(scheme):
        once = raw(signed(scheme))
        with pytest.raises(RefusedError):
            verify(scheme, (KEYS[scheme],), [*once, *[pair for pair in once if pair[0] == name.encode()]], BODY, NOW)


def test_github_takes_small_letters_of_sha256_alone() -> None:
    headers = signed(S.GITHUB)
    sha1 = hmac.new(KEYS[S.GITHUB], BODY, hashlib.sha1).hexdigest()

    assert not asked(
        S.GITHUB, {**headers, "x-hub-signature-256": "sha256=" + headers["x-hub-signature-256"][7:].upper()}
    )
    assert not asked(S.GITHUB, {"x-hub-signature": f"sha1={sha1}", "x-github-delivery": "1"})
    assert not asked(S.GITHUB, {"x-hub-signature-256": headers["x-hub-signature-256"]})


def test_stripe_takes_v1_alone_and_one_time() -> None:
    good = signed(S.STRIPE)["stripe-signature"]
    time, _, one = good.partition(",")

    assert asked(S.STRIPE, {"stripe-signature": f"{one},v0=ff,other=1,{time},v1={'0' * 64}"})
    assert not asked(S.STRIPE, {"stripe-signature": good.replace("v1=", "v0=")})
    assert not asked(S.STRIPE, {"stripe-signature": f"{time},{good}"})
    assert not asked(S.STRIPE, {"stripe-signature": one})


@pytest.mark.parametrize("name", ["authorization", "x-webhook-token", "x-gitlab-token"])
def test_a_token_comes_in_one_of_three_headers_and_once(name: str) -> None:
    value = f"Bearer {TEXT}" if name == "authorization" else TEXT

    assert asked(S.TOKEN, {name: value})
    assert not asked(S.TOKEN, {name: value, "x-webhook-token": TEXT, "x-gitlab-token": TEXT})
    assert not asked(S.TOKEN, {name: value + "x"})
    assert not asked(S.TOKEN, {name: "Bearer \xe9"})


def test_nothing_is_behind_an_endpoint_that_is_not_there() -> None:
    assert not any(asked(None, signed(scheme)) for scheme in S)


@contextmanager
def macs() -> Iterator[list[int]]:
    """Yield a list that gets a place for each MAC that is computed."""
    found: list[int] = []

    def look(_: FrameType, event: str, what: Any) -> None:
        if event == "c_call" and what.__name__ == "hmac_digest":
            found.append(1)

    sys.setprofile(look)
    try:
        yield found
    finally:
        sys.setprofile(None)


@pytest.mark.parametrize("scheme", [None, *S])
def test_every_refusal_costs_as_many_macs_as_an_acceptance(scheme: S | None) -> None:
    wrong = signed(scheme or S.GITHUB, key=b"another secret of 16 and more") if scheme is not S.NONE else {}
    for headers in (signed(scheme) if scheme else {}, wrong, {}, dict.fromkeys(wrong, "x")):
        with macs() as computed:
            asked(scheme, headers)

        assert MOST_SECRETS == len(computed)


@pytest.mark.parametrize(
    ("scheme", "secret", "reason"),
    [
        (S.STANDARD_WEBHOOKS, "whsec_!!!", "no base64"),
        (S.STANDARD_WEBHOOKS, "whsec_" + base64.b64encode(bytes(15)).decode(), "15 bytes"),
        (S.GITHUB, "", "0 bytes"),
        (S.TOKEN, "short", "5 bytes"),
    ],
)
def test_a_secret_that_anybody_could_guess_is_none(scheme: S, secret: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        key_of(scheme, secret)


def test_a_secret_of_standard_webhooks_may_lack_prefix_and_padding() -> None:
    raw_key = bytes(range(25))
    text = base64.b64encode(raw_key).decode()

    assert {raw_key} == {key_of(S.STANDARD_WEBHOOKS, given) for given in (text, text.rstrip("="), f"whsec_{text}")}


def test_a_delivery_is_known_by_its_id_else_by_what_was_signed() -> None:
    def named(scheme: S, data: dict[str, object], **more: str) -> str | None:
        return delivery_of(scheme, verify(scheme, (KEYS[scheme],), raw(signed(scheme) | more), BODY, NOW), data)

    digest = hashlib.sha256(str(NOW).encode() + b"." + BODY).hexdigest()
    assert named(S.STANDARD_WEBHOOKS, {}) == "msg_1"
    assert named(S.GITHUB, {}) == "72d3162e"
    assert named(S.STRIPE, {"id": "obj_1"}) == digest
    assert named(S.STRIPE, {"id": "evt_1", "object": "event"}) == "evt_1"
    assert named(S.SLACK, {"type": "event_callback", "event_id": "Ev1"}) == "Ev1"
    assert named(S.TOKEN, {}) is None
    assert named(S.TOKEN, {}, **{"idempotency-key": "k1"}) == "k1"
    assert event_id_of("a", "b", "c") == event_id_of("a", "b", "c") != event_id_of("a", "b", "d")


def test_who_tries_whether_the_endpoint_is_there_is_answered() -> None:
    assert answer_of(S.SLACK, {}, {"type": "url_verification", "challenge": "x"}) == {"challenge": "x"}
    assert answer_of(S.GITHUB, {"x-github-event": "ping"}, {"zen": "…"}) == {"pong": True}
    assert answer_of(S.GITHUB, {"x-github-event": "push"}, {}) is None
    assert answer_of(S.NONE, {"x-github-event": "ping"}, {}) is None


def test_headers_are_kept_without_secrets_and_proxies() -> None:
    given = {"x-github-event": "push", "content-type": "application/json", "x-hub-signature-256": "s", "cookie": "c",
             "x-webhook-token": "t", "authorization": "a", "x-forwarded-for": "1.2.3.4", "x-api-key": "k",
             "traceparent": "00-", "x-odd": "a\x01b"}  # fmt: skip

    assert headers_of(raw(given)) == {
        "x-github-event": "push", "content-type": "application/json", "traceparent": "00-", "x-odd": "a\ufffdb"
    }  # fmt: skip
