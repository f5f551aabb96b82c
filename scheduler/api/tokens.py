"""JSON Web Tokens of one issuer (RFC 8725): a fixed family of algorithms, every claim typed and required.

Whatever is wrong with a token, the caller is told no more than that it was refused.
"""

import binascii
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final

import jwt
from jwt.utils import base64url_decode
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from scheduler.api.jwks import KeySet
from scheduler.clock import Clock
from scheduler.config_sections import JwtSection
from scheduler.domain.access import Caller, Role
from scheduler.domain.strict_json import read_json
from scheduler.errors import ConfigurationError
from schemas.message import Name

_LONGEST_TOKEN: Final = 8192
_TYPES: Final = ("jwt", "at+jwt")
_REQUIRED: Final = ["exp", "iat", "iss", "aud", "sub"]
_Instant = Annotated[int | float, Field(ge=0, le=253_402_300_799)]


class RefusedTokenError(Exception):
    """Why a token is worth nothing, for the log."""


@dataclass(frozen=True, slots=True)
class Judged:
    """A token that is good, unless it was revoked: whom it names, its id if it has one, when it was issued."""

    caller: Caller
    token_id: str | None
    issued_at: datetime


class _Claims(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore", hide_input_in_errors=True, allow_inf_nan=False)

    sub: Annotated[str, Field(min_length=1, max_length=255)]
    exp: _Instant
    iat: _Instant
    nbf: _Instant | None = None
    jti: Annotated[str, Field(min_length=1, max_length=255)] | None = None
    tenant: Name
    roles: Annotated[list[str], Field(max_length=20)]


def check_jwt_settings(settings: JwtSection) -> None:
    """Refuse settings by which no token could be judged.

    Raises:
        ConfigurationError: one line.
    """
    if settings.issuer is None:
        raise ConfigurationError("http.auth has jwt: set jwt.issuer")
    if (settings.secret is None) == (settings.jwks_url is None):
        raise ConfigurationError("http.auth has jwt: set exactly one of jwt.secret and jwt.jwks_url")


class Tokens:
    """Judges tokens by the settings."""

    def __init__(self, settings: JwtSection, clock: Clock, operators: str) -> None:
        """``operators`` is the tenant to which what all tenants share belongs."""
        self._settings = settings
        self._operators = operators
        self._keys = None if settings.jwks_url is None else KeySet(settings.jwks_url, clock)

    async def judge(self, token: str) -> Judged:
        """Return whom ``token`` names, and what it may be revoked by.

        Raises:
            RefusedTokenError: it is not one of ours, or not good now.
            TransientError: the issuer's keys cannot be had.
        """
        if len(token) > _LONGEST_TOKEN:
            raise RefusedTokenError("it is too long")
        header = _read_part(token, 0)
        _read_part(token, 1)  # a claim given twice is refused; PyJWT would take the last
        algorithm, key = await self._key(header)
        try:
            found = jwt.decode(
                token,
                key,
                algorithms=[algorithm],
                audience=self._settings.audience,
                issuer=self._settings.issuer,
                leeway=self._settings.leeway,
                options={"require": _REQUIRED},
            )
            claims = _Claims.model_validate(found)
        except (jwt.PyJWTError, ValidationError, ValueError, OverflowError) as error:
            raise RefusedTokenError(f"{type(error).__name__}: {error}") from None
        if claims.exp - claims.iat > self._settings.longest / timedelta(seconds=1):
            raise RefusedTokenError("it lives longer than jwt.longest")
        if (first := self._settings.not_before) is not None and claims.iat < first.timestamp():
            raise RefusedTokenError("it was issued before jwt.not_before")
        roles = frozenset(Role(role) for role in claims.roles if role in set(Role))
        caller = Caller(claims.tenant, claims.sub, roles, f"jwt {claims.sub}", claims.tenant == self._operators)
        return Judged(caller, claims.jti, datetime.fromtimestamp(claims.iat, UTC))

    async def _key(self, header: dict[str, Any]) -> tuple[str, Any]:
        """Return the one algorithm and key by which the token may be signed."""
        if "crit" in header or str(header.get("typ", "")).lower() not in _TYPES:
            raise RefusedTokenError("crit or typ of its header is not ours")
        algorithm = header.get("alg")
        if self._settings.secret is not None:
            if algorithm != "HS256":
                raise RefusedTokenError("its algorithm is not HS256")
            return "HS256", self._settings.secret.get_secret_value().encode()
        if self._keys is None:
            raise RefusedTokenError("there is no key")
        key = await self._keys.find(header.get("kid"), algorithm)
        if key is None:
            raise RefusedTokenError("its key or algorithm is not one of the issuer's")
        return str(algorithm), key


def _read_part(token: str, index: int) -> dict[str, Any]:
    try:
        found = read_json(base64url_decode(token.split(".")[index].encode("ascii")))
    except (ValueError, IndexError, binascii.Error):
        raise RefusedTokenError("it is no token") from None
    if not isinstance(found, dict):
        raise RefusedTokenError("it is no token")
    return found
