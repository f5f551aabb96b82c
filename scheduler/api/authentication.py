"""Who is asking: an API key or a token of the issuer in the Authorization header, and nothing else.

Cookies and addresses with credentials are never looked at, so no page that a browser shows can ask in
somebody's name.
"""

from typing import TYPE_CHECKING, Final

import structlog

from scheduler.api.problems import ProblemError
from scheduler.api.rates import Buckets
from scheduler.clock import Clock
from scheduler.config import Settings
from scheduler.domain.access import Caller, Role
from scheduler.domain.addresses import is_loopback, network_of
from scheduler.errors import ConfigurationError
from scheduler.store.api_keys import PREFIX, use_key
from scheduler.store.revoked_tokens import is_revoked
from scheduler.store.stores import Stores

if TYPE_CHECKING:
    from scheduler.api.tokens import Tokens

log: structlog.stdlib.BoundLogger = structlog.get_logger()

_CHALLENGE: Final = {"WWW-Authenticate": 'Bearer realm="scheduler"'}
_MINUTE_S: Final = 60.0
_LONGEST_HEADER: Final = 9000


def check_http_settings(settings: Settings) -> None:
    """Refuse to listen where anybody could come without proving who they are.

    Raises:
        ConfigurationError: one line.
    """
    http = settings.http
    if not http.auth and not is_loopback(http.host):
        raise ConfigurationError(
            f"http.host {http.host} is beyond loopback and nobody would be asked who they are: set http.auth"
        )
    if "jwt" in http.auth:
        from scheduler.api.tokens import check_jwt_settings

        check_jwt_settings(settings.jwt)


class Authenticator:
    """Turns credentials into callers, and slows down whoever offers wrong ones."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._tokens: Tokens | None = None
        per_minute = settings.http.failures_per_minute
        self._failures = Buckets(per_minute / _MINUTE_S, float(per_minute))

    async def identify(self, header: str | None, address: str, stores: Stores) -> Caller:
        """Return who asks with this Authorization ``header`` from ``address``.

        Raises:
            ProblemError: 401, it is not good; 429, too many from there were not.
            TransientError: it cannot be judged now.
        """
        if header is None and not self._settings.http.auth:
            return Caller(self._settings.tenant, "local", frozenset({Role.ADMIN}), "loopback", runs_installation=True)
        now, network = self._clock.monotonic(), network_of(address)
        if (wait_s := self._failures.wait(network, now)) > 0:
            raise too_many("too many refused credentials", wait_s)
        caller = await self._judge(header or "", stores)
        if caller is None:
            self._failures.take(network, now)
            raise ProblemError(401, "give a valid API key or token: Authorization: Bearer …", headers=_CHALLENGE)
        return caller

    async def _judge(self, header: str, stores: Stores) -> Caller | None:
        scheme, _, credential = header.partition(" ")
        credential = credential.strip()
        if scheme.lower() != "bearer" or not credential or len(header) > _LONGEST_HEADER or not credential.isascii():
            return None
        if credential.startswith(PREFIX):
            return await self._by_key(credential, stores)
        return await self._by_token(credential, stores) if "jwt" in self._settings.http.auth else None

    async def _by_key(self, credential: str, stores: Stores) -> Caller | None:
        auth = self._settings.http.auth
        if auth and "keys" not in auth:
            return None
        found = await use_key(stores.main, credential)
        if found is None:
            return None
        name = f"key {found.name}"
        operators = found.tenant == self._settings.tenant
        return Caller(found.tenant, name, frozenset({found.role}), f"key {found.id}", operators)

    async def _by_token(self, credential: str, stores: Stores) -> Caller | None:
        from scheduler.api.tokens import RefusedTokenError, Tokens

        if self._tokens is None:
            self._tokens = Tokens(self._settings.jwt, self._clock, self._settings.tenant)
        try:
            judged = await self._tokens.judge(credential)
            earliest = judged.issued_at - self._settings.jwt.leeway  # as our clock would say, if the issuer's is ahead
            if await is_revoked(stores.main, judged.token_id, judged.caller.name, earliest):
                raise RefusedTokenError("it was revoked")
        except RefusedTokenError as error:
            log.warning("http.token_refused", reason=str(error))
            return None
        return judged.caller


def too_many(detail: str, wait_s: float) -> ProblemError:
    """Return the problem that says to come back later."""
    return ProblemError(429, detail, headers={"Retry-After": str(max(1, round(wait_s + 0.5)))})
