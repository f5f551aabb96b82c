"""Whether a webhook request is from who holds a secret of its endpoint. Pure, and over the raw bytes of the body.

A refusal takes as long whatever its reason is, an endpoint that is not there included: the headers of every scheme are
read, as many MACs over the body are computed as an endpoint may have secrets, and each is compared with all that was
offered.
"""

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from schemas.vocabulary import VerifyScheme
from schemas.webhook_spec import MOST_SECRETS

WINDOW_S: Final = 300
"""So far may a signed time lie from ours, on both sides, inclusive."""
LEAST_SECRET_BYTES: Final = 16
_MOST_SIGNATURES: Final = 16
_LONGEST_HEADER: Final = 8 * 1024
_TIMESTAMP: Final = re.compile(rb"[0-9]{1,11}")
_ID: Final = re.compile(rb"[\x21-\x7e]{1,256}")
_HEX: Final = re.compile(rb"[0-9a-f]{64}")
_PREFIX: Final = "whsec_"
_DECOY: Final = bytes(LEAST_SECRET_BYTES)
"""Stands for a secret that is not there; what it signs is not accepted."""

Headers = Sequence[tuple[bytes, bytes]]
"""Names in small letters, values as they came."""
_Named = Mapping[bytes, Sequence[bytes]]
"""All values of each name."""


class RefusedError(ValueError):
    """The request is not proved to be from a sender of the endpoint. The text is for the log, never for the sender."""


@dataclass(frozen=True, slots=True)
class Proved:
    """A request that is from a sender of its endpoint."""

    delivery_id: str | None
    """What the sender calls the delivery, the same when it sends it again; None: it has no name in this scheme."""
    digest: str | None
    """SHA-256 of all that was signed; None: nothing is signed in this scheme."""


@dataclass(frozen=True, slots=True)
class _Claim:
    """What the headers say: what was signed before the body, the signatures offered, when, and the delivery's id."""

    before: bytes = b""
    offered: Sequence[bytes] = ()
    timestamp: bytes | None = None
    delivery_id: bytes | None = None


_NO_CLAIM: Final = _Claim(before=b".")


def key_of(scheme: VerifyScheme, secret: str) -> bytes:
    """Return the key that a secret is.

    Raises:
        ValueError: it cannot be one; never repeats it.
    """
    if scheme is VerifyScheme.STANDARD_WEBHOOKS:
        text = secret.removeprefix(_PREFIX).rstrip("=")
        try:
            key = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
        except (binascii.Error, ValueError):
            raise ValueError("is no base64, as secrets of Standard Webhooks are") from None
    else:
        key = secret.encode()
    if len(key) < LEAST_SECRET_BYTES:
        raise ValueError(f"has {len(key)} bytes; at least {LEAST_SECRET_BYTES} are needed")
    return key


def verify(scheme: VerifyScheme | None, keys: Sequence[bytes], headers: Headers, body: bytes, now_s: int) -> Proved:
    """Return what proves the request, at ``now_s`` (seconds since 1970). ``scheme`` None: there is no such endpoint.

    Raises:
        RefusedError: nothing does.
    """
    named: dict[bytes, list[bytes]] = {}
    for name, value in headers:
        named.setdefault(name, []).append(value)
    own = None if scheme is None else _claim_of(scheme, named)
    if isinstance(own, _Claim):
        claim, problem = own, None
    else:
        problem = "there is no such endpoint" if own is None else str(own)
        others = _claims_of_others(scheme, named)
        claim = next((other for other in others if isinstance(other, _Claim) and other.offered), _NO_CLAIM)
    signs = scheme is not VerifyScheme.TOKEN
    content = claim.before + body
    holds = _any_holds(keys, content, claim.offered, signs=signs)
    if problem is None and claim.timestamp is not None and abs(now_s - int(claim.timestamp)) > WINDOW_S:
        problem = f"signed {now_s - int(claim.timestamp)} s ago; {WINDOW_S} s at most, either way"
    if problem is None and not holds and scheme is not VerifyScheme.NONE:
        problem = "no secret fits" if keys else "the endpoint has no secret that can be used"
    if problem is not None:
        if claim is own:
            _claims_of_others(scheme, named)  # for the time that it takes
        raise RefusedError(problem)
    signed = scheme not in {VerifyScheme.TOKEN, VerifyScheme.NONE}
    return Proved(
        None if claim.delivery_id is None else claim.delivery_id.decode("ascii"),
        hashlib.sha256(content).hexdigest() if signed and claim.delivery_id is None else None,
    )


def _claims_of_others(scheme: VerifyScheme | None, headers: _Named) -> list[_Claim | RefusedError]:
    return [_claim_of(other, headers) for other in VerifyScheme if other is not scheme]


def _claim_of(scheme: VerifyScheme, headers: _Named) -> _Claim | RefusedError:
    try:
        return _CLAIMS[scheme](headers)
    except RefusedError as error:
        return error


def _any_holds(keys: Sequence[bytes], content: bytes, offered: Sequence[bytes], *, signs: bool) -> bool:
    """Return whether one of ``offered`` is the MAC of ``content``, or else is a key itself. Looks at all of them."""
    holds = False
    for place in range(MOST_SECRETS):
        real = place < len(keys)
        key = keys[place] if real else _DECOY
        mac = hmac.digest(key, content, "sha256")
        wanted = mac if signs else key
        for one in offered:
            holds |= hmac.compare_digest(one, wanted) and real
    return holds


def _standard(headers: _Named) -> _Claim:
    delivery_id = _id(headers, b"webhook-id")
    if b"." in delivery_id:
        raise RefusedError("webhook-id has a dot")
    timestamp = _time(_only(headers, b"webhook-timestamp"))
    elements = _only(headers, b"webhook-signature").split(b" ")[:_MOST_SIGNATURES]
    offered = [mac for mac in (_base64_mac(part[3:]) for part in elements if part.startswith(b"v1,")) if mac]
    return _Claim(delivery_id + b"." + timestamp + b".", offered, timestamp, delivery_id)


def _github(headers: _Named) -> _Claim:
    signature = _only(headers, b"x-hub-signature-256")
    if not signature.startswith(b"sha256="):
        raise RefusedError("x-hub-signature-256 does not begin with sha256=")
    return _Claim(offered=_hex_macs([signature[7:]]), delivery_id=_id(headers, b"x-github-delivery"))


def _stripe(headers: _Named) -> _Claim:
    elements = [part.partition(b"=") for part in _only(headers, b"stripe-signature").split(b",")[:_MOST_SIGNATURES]]
    times = [value for name, _, value in elements if name == b"t"]
    if len(times) != 1:
        raise RefusedError("stripe-signature has not exactly one t")
    offered = _hex_macs([value for name, _, value in elements if name == b"v1"])
    return _Claim(_time(times[0]) + b".", offered, times[0])


def _slack(headers: _Named) -> _Claim:
    timestamp = _time(_only(headers, b"x-slack-request-timestamp"))
    signature = _only(headers, b"x-slack-signature")
    if not signature.startswith(b"v0="):
        raise RefusedError("x-slack-signature does not begin with v0=")
    return _Claim(b"v0:" + timestamp + b":", _hex_macs([signature[3:]]), timestamp)


def _token(headers: _Named) -> _Claim:
    """Take the token of GitLab's header, of ours, or a bearer token: one of them, once."""
    given = [*headers.get(b"x-webhook-token", ()), *headers.get(b"x-gitlab-token", ())]
    bearers = [value.partition(b" ") for value in headers.get(b"authorization", ())]
    given += [token.strip() for scheme, _, token in bearers if scheme.lower() == b"bearer"]
    if len(given) != 1 or not 0 < len(given[0]) <= _LONGEST_HEADER:
        raise RefusedError("there is not exactly one token")
    return _Claim(offered=given, delivery_id=_idempotency_key(headers))


def _none(headers: _Named) -> _Claim:
    return _Claim(delivery_id=_idempotency_key(headers))


_CLAIMS: Final[dict[VerifyScheme, Callable[[_Named], _Claim]]] = {
    VerifyScheme.STANDARD_WEBHOOKS: _standard,
    VerifyScheme.GITHUB: _github,
    VerifyScheme.STRIPE: _stripe,
    VerifyScheme.SLACK: _slack,
    VerifyScheme.TOKEN: _token,
    VerifyScheme.NONE: _none,
}


def _only(headers: _Named, name: bytes) -> bytes:
    values = headers.get(name, ())
    if len(values) != 1 or not 0 < len(values[0]) <= _LONGEST_HEADER:
        raise RefusedError(f"there is not exactly one {name.decode()}, of a bearable length")
    return values[0]


def _id(headers: _Named, name: bytes) -> bytes:
    value = _only(headers, name)
    if not _ID.fullmatch(value):
        raise RefusedError(f"{name.decode()} is not 1 to 256 visible ASCII characters")
    return value


def _idempotency_key(headers: _Named) -> bytes | None:
    """Return what a sender that signs nothing calls the delivery; None: nothing, so that each request is another."""
    name = b"idempotency-key"
    return _id(headers, name) if name in headers else None


def _time(value: bytes) -> bytes:
    if not _TIMESTAMP.fullmatch(value):
        raise RefusedError("the signed time is not 1 to 11 digits")
    return value


def _hex_macs(values: Sequence[bytes]) -> list[bytes]:
    return [bytes.fromhex(value.decode("ascii")) for value in values if _HEX.fullmatch(value)]


def _base64_mac(value: bytes) -> bytes | None:
    """Return the bytes of strict base64; None when it is written in another way than an encoder does."""
    try:
        found = base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        return None
    return found if base64.b64encode(found) == value else None
