"""Refusals in the audit log: what was asked, by whom, from where; a flood of them as few rows that say how many."""

import re
from collections import OrderedDict
from typing import TYPE_CHECKING, Final
from uuid import UUID

import structlog
from fastapi import Request

from scheduler.api.problems import ProblemError
from scheduler.api.rates import Buckets
from scheduler.counts import COUNTS
from scheduler.domain.access import Action, Caller
from scheduler.domain.addresses import network_of
from scheduler.domain.audit import By, plain
from scheduler.errors import ForeignError, NotFoundError, NotPermittedError
from scheduler.logs import Redactor
from scheduler.store.audit import Denial, record_denial
from scheduler.store.tenant_store import TenantStore

if TYPE_CHECKING:
    from scheduler.api.site import Site

log: structlog.stdlib.BoundLogger = structlog.get_logger()

_BURST: Final = 10.0
_EACH_PER_S: Final = 1 / 60
_ALL_BURST: Final = 100.0
_ALL_PER_S: Final = 0.5
"""Of all callers together: 43,200 rows a day at most, some 15 MB."""
_MOST_CALLERS: Final = 10_000
_NOBODY: Final = "anonymous"
_REFUSED: Final = frozenset({401, 403})
_NOT_FOUND: Final = 404
_REQUEST_ID: Final = re.compile(r"[\x21-\x7e]{1,128}")


class Denials:
    """Says which refusals get a row: the first ten of a caller, then one a minute; of all callers, 30 a minute."""

    def __init__(self) -> None:
        self._each = Buckets(_EACH_PER_S, _BURST)
        self._all = Buckets(_ALL_PER_S, _ALL_BURST)
        self._untold: OrderedDict[str, int] = OrderedDict()

    def admit(self, caller: str, now: float) -> int:
        """Return how many refusals of ``caller`` the row for this one stands for; 0: it gets none."""
        count = self._untold.pop(caller, 0) + 1
        if self._each.wait(caller, now) > 0 or self._all.take("", now) > 0:
            self._untold[caller] = count
            if len(self._untold) > _MOST_CALLERS:
                self._untold.popitem(last=False)
            return 0
        self._each.take(caller, now)
        return count


def request_id_of(given: str | None, fresh: UUID) -> str:
    """Return the id by which a request is found again: the caller's, if it is a plain word, else ``fresh``."""
    return given if given is not None and _REQUEST_ID.fullmatch(given) else str(fresh)


def by_of(caller: Caller, address: str, request_id: str) -> By:
    """Return who asks, as the audit log names them."""
    return By(plain(caller.credential.replace(" ", ":", 1)), caller.tenant, address, request_id)


async def note_denial(site: "Site", request: Request, action: Action, error: Exception) -> None:
    """Write ``error`` down if it is a refusal: no or wrong credentials, a role that may not, another tenant's object.

    That an object is another tenant's nobody here can know; asking for an id that is not one's own is taken for it.
    """
    status = _status(error)
    by_id = any(_is_id(str(value)) for value in request.path_params.values())
    if status not in _REFUSED and not (status == _NOT_FOUND and (by_id or isinstance(error, ForeignError))):
        return
    COUNTS.denied[str(status)] += 1
    caller: Caller | None = getattr(request.state, "caller", None)
    address = site.address_of(request)
    by = By(_NOBODY, site.settings.tenant, address, request.state.id)
    if caller is not None:
        by = by_of(caller, address, request.state.id)
    count = site.denials.admit(f"{by.tenant} {by.actor} {network_of(address)}", site.clock.monotonic())
    if not count:
        return
    route = request.scope["route"]
    asked = {"operation": route.name, "method": request.method, "needs": action.value, "status": status}
    try:
        stores = site.opened()
        home = stores.main if caller is None else stores.of(by.tenant)
        store = TenantStore(home.acting(by), by.tenant)
        await record_denial(store, by.tenant, Denial(Redactor()(request.url.path), asked, count))
    except Exception as failure:  # noqa: BLE001 - it must not keep the caller from being refused
        log.warning("http.denial_untold", actor=by.actor, address=address, status=status, error=str(failure))


def _status(error: Exception) -> int:
    """Return what a refusal is answered with; 0: it is none."""
    if isinstance(error, ProblemError):
        return error.status_code
    if isinstance(error, NotPermittedError):
        return 403
    return _NOT_FOUND if isinstance(error, NotFoundError) else 0


def _is_id(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return True
