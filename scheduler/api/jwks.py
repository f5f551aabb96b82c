"""The public keys of an issuer: fetched from the one address that the settings name, and kept.

``kid`` only looks a key up; addresses and keys that a token brings along are never looked at.
"""

import asyncio
from datetime import timedelta
from typing import Any, Final

import aiohttp
import jwt

from scheduler.clock import Clock
from scheduler.domain.strict_json import read_json
from scheduler.errors import TransientError

_KEPT: Final = timedelta(minutes=10)
_AGAIN: Final = timedelta(minutes=1)
"""Not more often than this is fetched because of a key that nobody knows."""
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
        self._lock = asyncio.Lock()

    async def find(self, kid: object, algorithm: object) -> Any:
        """Return the key; None when the issuer has none of that id for that algorithm.

        Raises:
            TransientError: the keys cannot be fetched, and none are kept.
        """
        async with self._lock:
            age = None if self._fetched is None else self._clock.monotonic() - self._fetched
            known = (kid, algorithm) in self._keys
            if age is None or age > _KEPT.total_seconds() or (not known and age > _AGAIN.total_seconds()):
                await self._refresh()
        if not isinstance(kid, str | None) or not isinstance(algorithm, str):
            return None
        return self._keys.get((kid, algorithm))

    async def _refresh(self) -> None:
        try:
            self._keys = _read(await self._fetch())
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            if not self._keys:
                raise TransientError(f"the keys of the issuer cannot be had: {type(error).__name__}") from None
        self._fetched = self._clock.monotonic()

    async def _fetch(self) -> bytes:
        timeout = aiohttp.ClientTimeout(total=_TIMEOUT_S)
        async with (
            aiohttp.ClientSession(timeout=timeout, trust_env=False) as session,
            session.get(self._url, allow_redirects=False) as answer,
        ):
            answer.raise_for_status()
            data = await answer.content.read(_LONGEST + 1)
            if answer.status != 200 or len(data) > _LONGEST:  # noqa: PLR2004 - OK
                raise ValueError("no set of keys")
            return data


def _read(data: bytes) -> dict[tuple[str | None, str], Any]:
    """Return the keys that may sign; others are left out. A key alone may be used without its id."""
    found = read_json(data)
    entries = found.get("keys") if isinstance(found, dict) else None
    if not isinstance(entries, list):
        raise ValueError("no set of keys")  # noqa: TRY004 - what was fetched is wrong, not a type of ours
    keys: dict[tuple[str | None, str], Any] = {}
    for entry in entries:
        algorithm = _algorithm(entry) if isinstance(entry, dict) else None
        if algorithm is None:
            continue
        try:
            key = jwt.PyJWK.from_dict(entry, algorithm).key
        except (jwt.PyJWTError, ValueError, KeyError):
            continue
        if getattr(key, "key_size", _LEAST_RSA_BITS) < _LEAST_RSA_BITS:
            continue
        keys[entry.get("kid"), algorithm] = key
    if len(keys) == 1:
        ((_, algorithm), key), *_ = keys.items()
        keys[None, algorithm] = key
    return keys


def _algorithm(entry: dict[str, Any]) -> str | None:
    if entry.get("use", "sig") != "sig" or "d" in entry or "k" in entry:
        return None
    kind = {("RSA", None): "RS256", ("OKP", "Ed25519"): "EdDSA"}.get((entry.get("kty", ""), entry.get("crv")))
    return kind if kind is not None and entry.get("alg", kind) == kind else None
