"""Fills the executor queues: takes the head of a pool's backlog and makes offers of it.

A queue holds no more than what the pool's live slots finish in about a second, at least two for
each slot and at most the pool's ``queue_limit``: an urgent run waits for a short queue, never
behind the backlog, which stays in PostgreSQL in its order. How much is out is counted from rows
under the lock of the pool's row, so that several Dispatchers never fill it twice.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from scheduler.domain.template_errors import TemplateError
from scheduler.domain.work_order import make_order
from scheduler.store.catalogue import Catalogue
from scheduler.store.queries import queries
from schemas.commands import StartAttempt
from schemas.work import WorkOrder

if TYPE_CHECKING:
    import asyncpg

    from scheduler.store.pool import Connection

Q: Final = queries("offers")

_FILL_AT_ONCE: Final = 1000
_OFFERS_PER_SLOT: Final = 2
MAX_ORDER_BYTES: Final = 128 * 1024
"""A work order beyond one frame of the broker is refused; large data belong into files."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast a pool works, as far as a Dispatcher has seen."""

    alive_s: float
    """An executor not heard of for this long does not count."""
    resend_s: float
    elapsed_s: float | None = None
    """Mean duration of recent attempts; None: nothing seen yet."""


@dataclass(frozen=True, slots=True)
class Filled:
    """Offers to publish, and runs that failed because no work order can be made of them."""

    offers: Sequence[StartAttempt] = ()
    given_up: Sequence[UUID] = ()
    executors: int = 0


class Offering:
    """Makes offers in one store."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue

    async def fill(self, db: "Connection", pool: str, pace: Pace) -> Filled:
        """Offer what fits into the queue of ``pool``; the caller publishes after the commit."""
        limit = await db.fetchval(Q["lock_pool"], pool)
        if limit is None:  # a job may name a pool that nobody has set up yet
            return Filled()
        strength = await db.fetchrow(Q["pool_strength"], pool, pace.alive_s)
        if strength is None or strength["slots"] == 0:
            return Filled()
        room = min(limit, _wanted(strength["slots"], pace.elapsed_s)) - strength["queued"]
        if room <= 0:
            return Filled()
        blocked = await self._blocked(db, pool, pace)
        rows = await db.fetch(Q["offer_runs"], pool, min(room, _FILL_AT_ONCE), blocked, pace.resend_s)
        offers, given_up = await self._orders(db, rows)
        return Filled(offers, given_up, strength["executors"])

    async def repeat(self, db: "Connection", pool: str, pace: Pace) -> Filled:
        """Make offers again that nobody has claimed for a while: same attempt, same token."""
        rows = await db.fetch(Q["repeat_offers"], pool, pace.resend_s, _FILL_AT_ONCE)
        offers, given_up = await self._orders(db, rows)
        return Filled(offers, given_up)

    async def _blocked(self, db: "Connection", pool: str, pace: Pace) -> list[UUID]:
        """Return the jobs whose handler some live executor of the pool lacks: an offer might land there."""
        wanted: dict[str, list[UUID]] = {}
        for jobs in self._catalogue.loaded.values():
            for handler, ids in jobs.handlers.items():
                wanted.setdefault(handler, []).extend(ids)
        if not wanted:
            return []
        gaps = await db.fetch(Q["list_handler_gaps"], pool, list(wanted), pace.alive_s)
        return [job_id for (handler,) in gaps for job_id in wanted[handler]]

    async def _orders(
        self, db: "Connection", rows: Sequence["asyncpg.Record"]
    ) -> tuple[list[StartAttempt], list[UUID]]:
        if not rows:
            return [], []
        specs = await self._catalogue.versions(db, {(row["job_id"], row["job_version"]) for row in rows})
        results = await self._results(db, rows)
        offers: list[StartAttempt] = []
        hopeless: list[tuple[asyncpg.Record, str]] = []
        for row in rows:
            try:
                run = _Run(row)
                order = make_order(specs[row["job_id"], row["job_version"]], run, results.get(row["id"], {}))
                offers.append(_offer(row, order))
            except (TemplateError, ValueError) as error:
                hopeless.append((row, f"the work order cannot be made: {error}"))
        if hopeless:
            await db.fetch(
                Q["give_up_runs"],
                [row["id"] for row, _ in hopeless],
                [row["lease_token"] for row, _ in hopeless],
                [reason for _, reason in hopeless],
            )
        return offers, [row["id"] for row, _ in hopeless]

    @staticmethod
    async def _results(db: "Connection", rows: Sequence["asyncpg.Record"]) -> dict[UUID, dict[str, Any]]:
        found: dict[UUID, dict[str, Any]] = {}
        followers = [row["id"] for row in rows if row["needs_met"]]
        if followers:
            for run_id, job_name, result in await db.fetch(Q["list_results"], followers):
                found.setdefault(run_id, {})[job_name] = result
        return found


class _Run:
    """A row of offer_runs as make_order reads it."""

    __slots__ = ("attempt", "fired_at", "flow_id", "id", "job_name", "job_version", "params")

    def __init__(self, row: "asyncpg.Record") -> None:
        self.id = row["id"]
        self.job_name: str = row["job_name"]
        self.job_version: int = row["job_version"]
        self.flow_id = row["flow_id"]
        self.fired_at = row["fired_at"]
        self.attempt: int = row["attempt"]
        self.params: Mapping[str, Any] | None = row["params"]


def _offer(row: "asyncpg.Record", order: WorkOrder) -> StartAttempt:
    offer = StartAttempt(
        tenant=row["tenant"],
        run_id=row["id"],
        attempt=row["attempt"],
        lease_token=row["lease_token"],
        pool=row["pool"],
        order=order,
        start_by=row["queue_until"],
    )
    if order.params or order.results or order.work.kind != "handler":
        size = len(offer.model_dump_json())
        if size > MAX_ORDER_BYTES:
            raise ValueError(f"it has {size} bytes, at most {MAX_ORDER_BYTES} are allowed")
    return offer


def _wanted(slots: int, elapsed_s: float | None) -> int:
    floor = _OFFERS_PER_SLOT * slots
    return floor if not elapsed_s else max(floor, int(slots / elapsed_s))


async def withdraw(db: "Connection", offers: Sequence[StartAttempt]) -> None:
    """Take back offers that the broker refused or may not have."""
    await db.execute(Q["withdraw_offers"], [offer.run_id for offer in offers], [offer.lease_token for offer in offers])
