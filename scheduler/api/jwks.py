"""The public keys of an issuer: fetched from the one address that the settings name, and kept.

``kid`` only looks a key up; addresses and keys that a token brings along are never looked at.
"""

import asyncio
from datetime import timedelta
from typing import Any, Final

import aiohttp
import jwt
import structlog

from scheduler.clock import Clock
from scheduler.domain.strict_json import read_json
from scheduler.errors import TransientError

log: structlog.stdlib.BoundLogger = structlog.get_logger()

_KEPT: Final = timedelta(minutes=10)
_AGAIN: Final = timedelta(minutes=1)
"""Not more often than this is fetched because of a key that nobody knows, or when a fetch has failed."""
_AT_ONCE: Final = timedelta(seconds=2)
"""The same while there are no keys at all."""
_GOOD: Final = timedelta(days=1)
"""So long are keys good that cannot be fetched again: one that was withdrawn must not stay for ever."""
_LONGEST: Final = 256 * 1024
_TIMEOUT_S: Final = 5.0
_LEAST_RSA_BITS: Final = 2048


class KeySet:
    """Keys by id; RSA for RS256, Ed25519 for EdDSA, nothing else."""

    def __init__(self, url: str, clock: Clock) -> None:
        self._url = url
        self._clock = clock
        self._keys: dict[tuple[str | None, str], Any] = {}
        self._fetched: float | None = None
        self._tried: float | None = None
        self._lock = asyncio.Lock()

    async def find(self, kid: object, algorithm: object) -> Any:
        """Return the key; None when the issuer has none of that id for that algorithm.

        Raises:
            TransientError: the keys cannot be fetched, and none are kept, or have been for too long.
        """
        if not isinstance(kid, str | None) or not isinstance(algorithm, str):
            return None
        wanted = (kid, algorithm)
        # A key that is known waits for nobody: strangers can have the keys fetched, and the issuer may be slow.
        if self._is_due(wanted):
            async with self._lock:
                if self._is_due(wanted):
                    await self._refresh()
        if self._fetched is None or self._ago(self._fetched) > _GOOD:
            raise TransientError("the keys of the issuer cannot be had")
        return self._keys.get(wanted)

    def _is_due(self, wanted: tuple[str | None, str]) -> bool:
        if self._tried is None:
            return True
        if self._fetched is None:
            return self._ago(self._tried) > _AT_ONCE
        is_old = self._ago(self._fetched) > _KEPT
        return (is_old or wanted not in self._keys) and self._ago(self._tried) > _AGAIN

    def _ago(self, at: float) -> timedelta:
        return timedelta(seconds=self._clock.monotonic() - at)

    async def _refresh(self) -> None:
        try:
            self._keys = _read(await self._fetch())
            self._fetched = self._clock.monotonic()
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            log.warning("http.keys_unavailable", error=type(error).__name__)
        finally:
            self._tried = self._clock.monotonic()

    async def _fetch(self) -> bytes:
        timeout = aiohttp.ClientTimeout(total=_TIMEOUT_S)
        async with (
            aiohttp.ClientSession(timeout=timeout, trust_env=False) as session,
            session.get(self._url, allow_redirects=False) as answer,
        ):
            answer.raise_for_status()
            data = bytearray()
            async for part in answer.content.iter_any():
                data += part
                if len(data) > _LONGEST:
                    raise ValueError("no set of keys")
            if answer.status != 200:  # noqa: PLR2004 - OK
                raise ValueError("no set of keys")
            return bytes(data)


def _read(data: bytes) -> dict[tuple[str | None, str], Any]:
    """Return the keys that may sign; others are left out. A key alone may be used without its id."""
    found = read_json(data)
    entries = found.get("keys") if isinstance(found, dict) else None
    if not isinstance(entries, list):
        raise ValueError("no set of keys")  # noqa: TRY004 - what was fetched is wrong, not a type of ours
    keys: dict[tuple[str | None, str], Any] = {}
    for entry in entries:
        try:
            algorithm = _algorithm(entry) if isinstance(entry, dict) else None
            if algorithm is None:
                continue
            key = jwt.PyJWK.from_dict(entry, algorithm).key
            if getattr(key, "key_size", _LEAST_RSA_BITS) >= _LEAST_RSA_BITS:
                keys[entry.get("kid"), algorithm] = key
        except (jwt.PyJWTError, ValueError, KeyError, TypeError):
            continue
    if len(keys) == 1:
        ((_, algorithm), key), *_ = keys.items()
        keys[None, algorithm] = key
    return keys


def _algorithm(entry: dict[str, Any]) -> str | None:
    if entry.get("use", "sig") != "sig" or "d" in entry or "k" in entry:
        return None
    kind = {("RSA", None): "RS256", ("OKP", "Ed25519"): "EdDSA"}.get((entry.get("kty", ""), entry.get("crv")))
    return kind if kind is not None and entry.get("alg", kind) == kind else None
