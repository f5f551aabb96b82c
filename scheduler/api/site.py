"""What answers are made from. It is there from the first moment of a process; the stores come when they are open."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING

from fastapi import Request

from scheduler.api.authentication import Authenticator
from scheduler.api.denials import Denials
from scheduler.api.exported_jobs import ExportedJobs
from scheduler.api.rates import Buckets
from scheduler.api.streams import Streams
from scheduler.clock import Clock
from scheduler.config import Settings
from scheduler.domain.addresses import client_of, is_loopback
from scheduler.domain.audit import By
from scheduler.errors import DatabaseUnavailableError
from scheduler.metrics import Metrics
from scheduler.store.idempotency import read_cursor_secret
from scheduler.store.stores import Stores
from scheduler.store.tenant_store import TenantStore

if TYPE_CHECKING:
    from scheduler.api.hook_desk import HookDesk

_BURST_S = 4.0
_MINUTE_S = 60.0


async def _starting() -> Mapping[str, str]:
    return {"ingress": "is starting"}


@dataclass(slots=True)
class Site:
    """One HTTP interface. ``troubles`` and ``round_trips`` say of its process what the probe says."""

    settings: Settings
    clock: Clock
    metrics: Metrics
    troubles: Callable[[], Awaitable[Mapping[str, str]]] = _starting
    round_trips: Callable[[], Mapping[str, float]] = dict
    stores: Stores | None = None
    """None: not open yet, or closed; questions are answered 503."""
    hooks: "HookDesk | None" = None
    """Who takes webhooks in; None: nobody yet, or no more."""
    rates: Buckets = field(init=False)
    refusals: Buckets = field(init=False)
    """By network: webhooks that prove nothing."""
    denials: Denials = field(init=False)
    authenticator: Authenticator = field(init=False)
    streams: Streams = field(init=False)
    exported_jobs: ExportedJobs = field(init=False)
    _cursor_secret: bytes | None = None

    def __post_init__(self) -> None:
        per_s = self.settings.http.per_second
        self.rates = Buckets(per_s, max(1.0, per_s * _BURST_S))
        failures = self.settings.http.failures_per_minute
        self.refusals = Buckets(failures / _MINUTE_S, float(failures))
        self.denials = Denials()
        self.authenticator = Authenticator(self.settings, self.clock)
        self.exported_jobs = ExportedJobs()
        self.streams = Streams(self.settings.http.streams, self.clock)

    @property
    def open_to_all(self) -> bool:
        """Whether everybody who reaches it is an admin: on loopback, when no way to prove who one is was named."""
        return not self.settings.http.auth and is_loopback(self.settings.http.host)

    @property
    def shows_docs(self) -> bool:
        """Whether the description of the interface is for everybody."""
        wanted = self.settings.http.docs
        return self.open_to_all if wanted is None else wanted

    @property
    def lease_s(self) -> float:
        return self.settings.lease / timedelta(seconds=1)

    def address_of(self, request: Request) -> str:
        """Return the address that a request came from."""
        peer = request.client.host if request.client else ""
        forwarded = ",".join(request.headers.getlist("x-forwarded-for"))
        return client_of(peer, forwarded, self.settings.http.trusted_proxies)

    def opened(self) -> Stores:
        """Return the stores.

        Raises:
            DatabaseUnavailableError: they are not open.
        """
        if self.stores is None:
            raise DatabaseUnavailableError("the database is not open yet")
        return self.stores

    def store_of(self, by: By) -> TenantStore:
        """Return the store of the tenant of ``by``, held to what is the tenant's; what is changed is written as theirs.

        Raises:
            DatabaseUnavailableError: it is not open.
        """
        return TenantStore(self.opened().of(by.tenant).acting(by), by.tenant)

    async def cursor_secret(self) -> bytes:
        """Return what cursors are signed with."""
        if self._cursor_secret is None:
            self._cursor_secret = await read_cursor_secret(self.opened().main)
        return self._cursor_secret
