"""The Dispatcher's desk for ended runs: does their DAG steps, and records the ends that triggers wait for."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from uuid import UUID

from actors.events import EventDesk
from actors.forgotten import SWEEP_BATCH
from actors.offers import OfferDesk
from scheduler.crash import crash_point
from scheduler.store.advancing import advance
from scheduler.store.backfilling import Backfilling, find_due_backfills, postpone_backfill
from scheduler.store.catalogue import Catalogue
from scheduler.store.ended import owe_ends, record_ends
from scheduler.store.stores import Store
from scheduler.store.sweeping import expire_waiting, find_owed_steps, postpone_step, spare
from scheduler.store.turns import list_lines, pass_on


class StepDesk:
    """Steps of one store; each is one transaction, and what it offers is published after it."""

    def __init__(
        self, store: Store, catalogue: Catalogue, offers: OfferDesk, events: EventDesk, new_id: Callable[[], UUID]
    ) -> None:
        self._store = store
        self._catalogue = catalogue
        self._offers = offers
        self._events = events
        self._new_id = new_id
        self._backfilling = Backfilling(catalogue, new_id)

    async def advance(self, ended: Iterable[UUID], pools: Iterable[str] = ()) -> None:
        """Do DAG steps until none is owed: a skipped run owes its own. Fills the pools that got work, and ``pools``."""
        todo = list(ended)
        while todo:
            async with self._store.transaction(flush=False) as db:
                step = await advance(db, todo[:SWEEP_BATCH])
                told = await record_ends(db, self._catalogue, step.ended, self._new_id) if step.ended else []
                filled = await self._offers.fill_in(db, step.pools.union(pools))
                crash_point("dispatcher.before_step_commit")
            crash_point("dispatcher.after_step_commit")
            for pool, offers in filled.items():
                await self._offers.publish(pool, offers)
            if step.owed:
                await self._release(step.backfills)
                await self._offers.fill(await pass_on(self._store, step.lines, step.owed))
            await self._events.decide_sparing(told)
            todo = todo[SWEEP_BATCH:] + step.skipped

    async def advance_owed(self) -> None:
        """Do the steps whose message is overdue, and fail the runs that waited too long for their start."""
        await expire_waiting(self._store, SWEEP_BATCH)
        before: Sequence[UUID] = ()
        while (found := await find_owed_steps(self._store, SWEEP_BATCH)) and found != before:
            await spare(found, self.advance, partial(postpone_step, self._store))
            before = found

    async def release_due_backfills(self) -> None:
        """Go on with backfills that nobody has looked at for a while."""
        found = await find_due_backfills(self._store, SWEEP_BATCH)
        if found:
            await spare(found, self._release, partial(postpone_backfill, self._store))

    async def mind_definitions(self) -> None:
        """Let changed definitions act on runs that are there: those in line, and those somebody waits for now."""
        async with self._store.connection() as db:
            await self._catalogue.preload(db)
            awaited = [job for jobs in self._catalogue.loaded.values() for job in jobs.watching.jobs]
            if awaited:
                await owe_ends(db, awaited)
        for job_id in await list_lines(self._store):
            await self._offers.fill(await pass_on(self._store, [job_id], ()))

    async def _release(self, backfill_ids: Iterable[UUID]) -> None:
        for backfill_id in backfill_ids:
            await self._offers.fill(await self._backfilling.release(self._store, backfill_id))
