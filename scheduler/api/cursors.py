"""Cursors of lists: opaque, signed, good for one tenant and one set of filters."""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping
from typing import Any, Final
from uuid import UUID

from scheduler.api.problems import ProblemError

_MAC_BYTES: Final = 16


def make_cursor(secret: bytes, tenant: str, filters: Mapping[str, Any], last: UUID) -> str:
    """Return the cursor that goes on behind ``last``."""
    mac = _mac(secret, tenant, filters, last.bytes)
    return _text(last.bytes + mac)


def read_cursor(secret: bytes, tenant: str, filters: Mapping[str, Any], cursor: str | None) -> UUID | None:
    """Return where to go on; None from the beginning.

    Raises:
        ProblemError: 400, it was altered, or belongs to other filters.
    """
    if cursor is None:
        return None
    try:
        data = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
    except (ValueError, binascii.Error):
        data = b""
    last, mac = data[:-_MAC_BYTES], data[-_MAC_BYTES:]
    if (
        _text(data) != cursor
        or len(last) != _MAC_BYTES
        or not hmac.compare_digest(mac, _mac(secret, tenant, filters, last))
    ):
        raise ProblemError(400, "the cursor is not one of this list with these filters", code="bad_cursor")
    return UUID(bytes=last)


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _mac(secret: bytes, tenant: str, filters: Mapping[str, Any], last: bytes) -> bytes:
    bound = "\n".join([tenant, *(f"{name}={filters[name]!r}" for name in sorted(filters))])
    return hmac.digest(secret, bound.encode() + b"\0" + last, hashlib.sha256)[:_MAC_BYTES]
