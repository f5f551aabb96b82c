"""Fills the executor queues: takes the head of a pool's backlog and makes offers of it.

A queue holds no more than what the pool's live slots finish in about a second, at least two for
each slot and at most the pool's ``queue_limit``: an urgent run waits for a short queue, never
behind the backlog, which stays in PostgreSQL in its order. How much is out is counted from rows
under the lock of the pool's row, so that several Dispatchers never fill it twice.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID, uuid4

from scheduler.domain.flow import PlannedRun
from scheduler.domain.matching import Event
from scheduler.domain.template_errors import TemplateError
from scheduler.domain.work_order import RunFacts, make_order
from scheduler.store.catalogue import Catalogue, Size
from scheduler.store.circuits import Standing, Trial, let_one_try, look
from scheduler.store.event_rows import find_events
from scheduler.store.limits import Limits
from scheduler.store.queries import queries
from schemas.commands import StartAttempt
from schemas.job_spec import JobSpec
from schemas.vocabulary import FiringKind, RunState
from schemas.work import WorkOrder

if TYPE_CHECKING:
    import asyncpg

    from scheduler.store.pool import Connection

Q: Final = queries("offers")

_FILL_AT_ONCE: Final = 1000
_PATIENT_FROM: Final = 4
"""Offers of a run after which an executor keeps room for it: about half a minute after the first one."""
_OFFERS_PER_SLOT: Final = 2
_NO_ORDER: Final = "the work order cannot be made"
_OF_EVENTS: Final = frozenset({FiringKind.EVENT, FiringKind.RETRY})
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
    most: int | None = None
    """The queue gets no more for the moment, however fast the pool works; None: what it finishes in about a second."""


PaceOf = Callable[[str], Pace]
"""The pace of a pool, by its name."""


@dataclass(frozen=True, slots=True)
class Filled:
    """Offers to publish, and the executors that will share them, with their slots."""

    offers: Sequence[StartAttempt] = ()
    executors: int = 0
    slots: int = 0


@dataclass(frozen=True, slots=True)
class Room:
    """How many offers the queue of a pool may still take, and which jobs may not be among them."""

    left: int = 0
    executors: int = 0
    slots: int = 0
    blocked: frozenset[UUID] = frozenset()
    backlog: bool = False
    limited: bool = False
    """Some of the runs that are ready share a limit."""
    trials: Sequence[Trial] = ()
    """Circuits of which one run may try."""


class Offering:
    """Makes offers in one store."""

    def __init__(self, catalogue: Catalogue, store: str | None = None) -> None:
        """``store`` is what offers say of where they are from; None: the main one."""
        self._catalogue = catalogue
        self._store = store
        self._limits = Limits(catalogue)

    async def fill(self, db: "Connection", pool: str, pace: Pace) -> Filled:
        """Offer what fits into the queue of ``pool``; the caller publishes after the commit."""
        room = await self._room(db, pool, pace)
        if room.left <= 0 or not (room.backlog or room.limited):
            return Filled()
        most = min(room.left, _FILL_AT_ONCE)
        free = await self._limits.find_free(db, pool, most, room.blocked) if room.limited else ()
        rows = await db.fetch(Q["offer_runs"], pool, most, list(room.blocked), pace.resend_s, free)
        if room.trials:
            rows = await let_one_try(db, rows, room.trials)
        if free:
            await self._limits.spend(db, rows)
        return Filled(await self._orders(db, rows), room.executors, room.slots)

    async def offer_new(
        self,
        db: "Connection",
        roots: Sequence[tuple["asyncpg.Record", PlannedRun]],
        pace_of: PaceOf,
        *,
        ahead: bool = False,
    ) -> Mapping[str, Filled]:
        """Offer runs that are about to be written, while their pool has room and no backlog to overtake.

        ``ahead``: they are to start at the instant of their firing, which is still to come.
        Marks them queued with a lease token. One whose work order cannot be made is marked failed.
        """
        pools: dict[str, list[tuple[asyncpg.Record, PlannedRun]]] = {}
        for firing, root in roots:
            # timeout.queue starts with the commit, by the database clock: the backlog knows it, and the event.
            spec = root.job.spec
            names_event = spec.may_name_event or (spec.tells_depth and firing["kind"] in _OF_EVENTS)
            apart = root.limit is not None or spec.timeout.queue is not None or names_event
            if root.state is RunState.READY and not apart:
                pools.setdefault(root.job.spec.pool, []).append((firing, root))
        filled: dict[str, Filled] = {}
        for pool in sorted(pools):
            room = await self._room(db, pool, pace_of(pool))
            if room.left > 0 and not (room.backlog or room.limited):
                tried = {job for trial in room.trials for job in trial.jobs}
                able = [pair for pair in pools[pool] if pair[1].job.id not in room.blocked | tried]
                able.sort(key=lambda pair: pair[1].job.spec.priority.rank)
                made = [_offer_new(firing, root, self._store, ahead=ahead) for firing, root in able[: room.left]]
                offers = [offer for offer in made if offer is not None]
                filled[pool] = Filled(offers, room.executors, room.slots)
        return filled

    async def _room(self, db: "Connection", pool: str, pace: Pace) -> Room:
        """Lock the pool and look how many offers its queue may still take."""
        limit = await db.fetchval(Q["lock_pool"], pool)
        if limit is None:  # the pool is paused, or nobody has set it up yet
            return Room()
        wanted, sizes = self._demands(), self._sizes()
        columns = ([size[part] for size in sizes] for part in range(3))
        strength = await db.fetchrow(Q["pool_strength"], pool, pace.alive_s, list(wanted), *columns)
        if strength is None or strength["slots"] == 0:
            return Room()
        most = limit if pace.most is None else min(limit, pace.most)
        left = places(most, strength["slots"], pace.elapsed_s) - strength["queued"]
        blocked = frozenset(job_id for what in strength["gaps"] for job_id in wanted[what])
        if strength["too_large"]:
            jobs_of = list(sizes.values())
            blocked |= {job_id for place in strength["too_large"] for ids in jobs_of[place - 1] for job_id in ids}
        if strength["no_sandbox"]:
            blocked |= {job_id for jobs in self._catalogue.loaded.values() for job_id in jobs.enclosed}
        loaded = self._catalogue.loaded.items()
        circuits = {(tenant, target): ids for tenant, jobs in loaded for target, ids in jobs.circuits.items()}
        standing = await look(db, circuits) if circuits else Standing()
        blocked |= standing.held
        waiting = strength["backlog"], strength["limited"]
        return Room(left, strength["executors"], strength["slots"], blocked, *waiting, standing.trials)

    def _demands(self) -> dict[str, list[UUID]]:
        """Return the jobs that demand each handler and each label, over all tenants."""
        wanted: dict[str, list[UUID]] = {}
        for jobs in self._catalogue.loaded.values():
            for what, ids in jobs.demands.items():
                wanted.setdefault(what, []).extend(ids)
        return wanted

    def _sizes(self) -> dict[Size, list[list[UUID]]]:
        """Return the jobs that demand an executor of some size, each tenant's in a list."""
        wanted: dict[Size, list[list[UUID]]] = {}
        for jobs in self._catalogue.loaded.values():
            for size, ids in jobs.sizes.items():
                wanted.setdefault(size, []).append(ids)
        return wanted

    async def repeat(self, db: "Connection", pool: str, pace: Pace) -> Filled:
        """Make offers again that nobody has claimed for a while: same attempt, same token."""
        rows = await db.fetch(Q["repeat_offers"], pool, pace.resend_s, _FILL_AT_ONCE)
        return Filled(await self._orders(db, rows))

    async def _orders(self, db: "Connection", rows: Sequence["asyncpg.Record"]) -> list[StartAttempt]:
        if not rows:
            return []
        specs = await self._catalogue.versions(db, {(row["job_id"], row["job_version"]) for row in rows})
        results = await self._results(db, rows)
        events = await find_events(db, [row["id"] for row in rows if _needs_event(specs, row)])
        offers: list[StartAttempt] = []
        hopeless: list[tuple[asyncpg.Record, str]] = []
        for row in rows:
            spec = specs.get((row["job_id"], row["job_version"]))
            if spec is None:  # it cannot be read here: another Dispatcher can, or nobody yet; it is repeated
                continue
            try:
                event = events.get(row["id"])
                words = event.words() if event is not None and spec.may_name_event else None
                order = make_order(spec, _run_of(row, event), results.get(row["id"], {}), words)
                offers.append(_offer(row, order, self._store))
            except (TemplateError, ValueError) as error:
                hopeless.append((row, f"{_NO_ORDER}: {error}"))
        if hopeless:
            await db.execute(
                Q["give_up_runs"],
                [row["id"] for row, _ in hopeless],
                [row["lease_token"] for row, _ in hopeless],
                [reason for _, reason in hopeless],
            )
        return offers

    @staticmethod
    async def _results(db: "Connection", rows: Sequence["asyncpg.Record"]) -> dict[UUID, dict[str, Any]]:
        found: dict[UUID, dict[str, Any]] = {}
        followers = [row["id"] for row in rows if row["needs_met"]]
        if followers:
            for run_id, job_name, result in await db.fetch(Q["list_results"], followers):
                found.setdefault(run_id, {})[job_name] = result
        return found


def _needs_event(specs: Mapping[tuple[UUID, int], JobSpec], row: "asyncpg.Record") -> bool:
    spec = specs.get((row["job_id"], row["job_version"]))
    return spec is not None and (spec.may_name_event or spec.tells_depth)


def _run_of(row: "asyncpg.Record", event: Event | None) -> RunFacts:
    names = ("id", "job_name", "job_version", "flow_id", "fired_at", "attempt", "params", "losses")
    facts = RunFacts(*(row[name] for name in names))
    return facts if event is None else replace(facts, depth=event.depth + 1)


def _offer_new(firing: "asyncpg.Record", root: PlannedRun, store: str | None, *, ahead: bool) -> StartAttempt | None:
    """Return the offer of a run that is written with it; None when the run is failed instead."""
    job = root.job
    run = RunFacts(root.id, job.name, job.version, root.id, firing["fires_at"], 1, root.params)
    root.lease_token = uuid4()
    try:
        offer = StartAttempt(
            tenant=firing["tenant"],
            run_id=root.id,
            attempt=1,
            lease_token=root.lease_token,
            pool=job.spec.pool,
            store=store,
            order=_checked(make_order(job.spec, run, {})),
            starts_at=firing["fires_at"] if ahead else None,
            traceparent=firing["traceparent"],
        )
    except (TemplateError, ValueError) as error:
        root.state, root.reason, root.lease_token = RunState.FAILED, f"{_NO_ORDER}: {error}", None
        return None
    root.state = RunState.QUEUED
    return offer


def _offer(row: "asyncpg.Record", order: WorkOrder, store: str | None) -> StartAttempt:
    return StartAttempt(
        tenant=row["tenant"],
        run_id=row["id"],
        attempt=row["attempt"],
        lease_token=row["lease_token"],
        pool=row["pool"],
        store=store,
        order=_checked(order),
        patient=order.resources is not None and row["intent"] >= _PATIENT_FROM,
        traceparent=row["traceparent"],
    )


def _checked(order: WorkOrder) -> WorkOrder:
    if order.params or order.results or order.work.kind != "handler":
        size = len(order.model_dump_json())
        if size > MAX_ORDER_BYTES:
            raise ValueError(f"it has {size} bytes, at most {MAX_ORDER_BYTES} are allowed")
    return order


def places(limit: int, slots: int, elapsed_s: float | None) -> int:
    """Return how many offers a pool's queue takes: about a second of work, two a slot at least, ``limit`` at most."""
    floor = _OFFERS_PER_SLOT * slots
    return min(limit, floor if not elapsed_s else max(floor, int(slots / elapsed_s)))


async def withdraw(db: "Connection", offers: Sequence[StartAttempt]) -> None:
    """Take back offers that the broker refused or may not have."""
    offers = sorted(offers, key=lambda offer: offer.run_id)
    await db.execute(Q["withdraw_offers"], [offer.run_id for offer in offers], [offer.lease_token for offer in offers])
