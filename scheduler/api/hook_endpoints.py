"""The endpoints that webhooks are sent to, with their keys, kept in memory: known while the database is away."""

import asyncio
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import structlog

from scheduler.domain.signature import key_of
from scheduler.errors import DatabaseUnavailableError
from scheduler.store.stores import Store
from scheduler.store.webhooks import list_all_webhooks
from schemas.vocabulary import VerifyScheme
from schemas.webhook_spec import WebhookSpec
from schemas.work import SecretRef

log: structlog.stdlib.BoundLogger = structlog.get_logger()

_LONGEST_SECRET: Final = 64 * 1024
_OWN_ANSWER_S: Final = 3.0
"""One tenant's database that does not answer must not keep the endpoints of the others from being read."""
_Specs = Mapping[tuple[str, str], WebhookSpec]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """How one endpoint knows its senders. Without keys it knows none, unless its scheme is ``none``."""

    scheme: VerifyScheme
    keys: tuple[bytes, ...] = ()


class Endpoints:
    """Every endpoint of every tenant, as of the last look."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], Endpoint] = {}
        self._told: dict[tuple[str, str], list[str]] = {}
        self._own: dict[str, _Specs | None] = {}
        """Of tenants with a database of their own, as last read there; None: never yet."""

    def find(self, tenant: str, name: str) -> Endpoint | None:
        """Return an endpoint; None: there is none.

        Raises:
            DatabaseUnavailableError: those of the tenant are in a database of its own, which was not read yet.
        """
        found = self._known.get((tenant, name))
        if found is None and tenant in self._own and self._own[tenant] is None:
            raise DatabaseUnavailableError(f"the database of tenant {tenant} was not reached yet")
        return found

    async def load(self, main: Store, apart: Mapping[str, Store | None]) -> None:
        """Read the endpoints, and their secrets anew from where they are.

        Those of a tenant with a database of its own are read from there, and stay as they were while it is away.

        Raises:
            DatabaseUnavailableError: what was known stays.
        """
        specs = {key: spec for key, spec in (await list_all_webhooks(main)).items() if key[0] not in apart}
        own = await asyncio.gather(*(_read_own(tenant, store) for tenant, store in apart.items()))
        self._own = {tenant: self._own.get(tenant) if read is None else read
                     for tenant, read in zip(apart, own, strict=True)}  # fmt: skip
        for read in self._own.values():
            specs.update(read or {})
        found = await asyncio.to_thread(_resolve, specs)
        self._known = {key: endpoint for key, (endpoint, _) in found.items()}
        troubles = {key: troubles for key, (_, troubles) in found.items() if troubles}
        for (tenant, name), said in troubles.items():
            if self._told.get((tenant, name)) != said:
                log.warning("webhook.secret_unusable", tenant=tenant, webhook=name, reason="; ".join(said))
        self._told = troubles


async def _read_own(tenant: str, store: Store | None) -> _Specs | None:
    """Return the endpoints of a tenant in its own database; None: that does not answer."""
    if store is None:
        return None
    try:
        async with asyncio.timeout(_OWN_ANSWER_S):
            found = await list_all_webhooks(store)
    except (DatabaseUnavailableError, TimeoutError):
        return None
    return {key: spec for key, spec in found.items() if key[0] == tenant}


def _resolve(specs: _Specs) -> dict[tuple[str, str], tuple[Endpoint, list[str]]]:
    found = {}
    for key, spec in specs.items():
        keys, troubles = [], []
        for reference in spec.secrets:
            try:
                keys.append(key_of(spec.verify, _read(reference)))
            except ValueError as error:
                where = f"env {reference.env}" if reference.env is not None else f"file {reference.file}"
                troubles.append(f"secret {where}: {error}")
        found[key] = Endpoint(spec.verify, tuple(keys)), troubles
    return found


def _read(reference: SecretRef) -> str:
    """Return the text of a secret.

    Raises:
        ValueError: it cannot be read; never repeats it.
    """
    if reference.env is not None:
        value = os.environ.get(reference.env)
        if value is None:
            raise ValueError("the ingress has no such environment variable")
        return value
    try:
        # Not blocking: a pipe that nobody writes to would hold up everything.
        handle = os.open(reference.file or "", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(handle, "rb") as file:  # noqa: PTH123 - of a handle
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise ValueError("is no file")
            raw = file.read(_LONGEST_SECRET + 1)
    except OSError as error:
        raise ValueError((error.strerror or "cannot be read").lower()) from None
    if len(raw) > _LONGEST_SECRET:
        raise ValueError("is larger than 64 KiB")
    try:
        return raw.decode().removesuffix("\n")
    except UnicodeDecodeError:
        raise ValueError("is not UTF-8 text") from None
