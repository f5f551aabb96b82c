"""What a verified webhook request says: which delivery it is, and whether it is an event at all. Pure."""

import re
from collections.abc import Mapping
from typing import Any, Final
from uuid import UUID, uuid5

from scheduler.domain.signature import Headers, Proved
from schemas.vocabulary import VerifyScheme

_NAMESPACE: Final = UUID("fd54a45e-4b1b-54fb-9b0b-45fd629bef13")
_LONGEST_ID: Final = 256
_KEPT: Final = frozenset({b"content-type", b"user-agent", b"traceparent", b"tracestate", b"idempotency-key"})
_KEPT_PREFIXES: Final = (b"x-", b"webhook-", b"ce-")
_SECRET: Final = re.compile("signature|token|secret|auth|passw|cookie|api-?key")
_OF_PROXIES: Final = ("x-forwarded-", "x-real-ip")
_UNSTORABLE: Final = re.compile("[\0-\x08\x0a-\x1f\x7f]")


def event_id_of(tenant: str, hook: str, delivery: str) -> UUID:
    """Return the id of the event that a delivery is, however often and by whichever way it comes."""
    return uuid5(_NAMESPACE, f"{tenant}/{hook}/{delivery}")


def delivery_of(scheme: VerifyScheme, proved: Proved, data: Mapping[str, Any]) -> str | None:
    """Return what the delivery is known by when it comes again; None: each request is another.

    Stripe and Slack sign a retry anew, with another time, and name the event in the body.
    """
    named = None
    if scheme is VerifyScheme.STRIPE and data.get("object") == "event":
        named = data.get("id")
    elif scheme is VerifyScheme.SLACK and data.get("type") == "event_callback":
        named = data.get("event_id")
    if isinstance(named, str) and 0 < len(named) <= _LONGEST_ID and named.isascii() and named.isprintable():
        return named
    return proved.delivery_id or proved.digest


def answer_of(scheme: VerifyScheme, headers: Mapping[str, str], data: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return what a sender that tries whether the endpoint is there wants to hear; None: it sends an event."""
    if scheme is VerifyScheme.SLACK and data.get("type") == "url_verification":
        return {"challenge": data.get("challenge")}
    if scheme is VerifyScheme.GITHUB and headers.get("x-github-event") == "ping":
        return {"pong": True}
    return None


def headers_of(headers: Headers) -> dict[str, str]:
    """Return the headers that are of use to triggers, by name in small letters: no secrets, nothing of proxies."""
    kept: dict[str, str] = {}
    for raw, value in headers:
        if not (raw in _KEPT or raw.startswith(_KEPT_PREFIXES)):
            continue
        name = raw.decode("latin-1")
        if not _SECRET.search(name) and not name.startswith(_OF_PROXIES):
            kept[name] = _UNSTORABLE.sub("\N{REPLACEMENT CHARACTER}", value.decode("latin-1"))
    return kept
