"""Quotas of tenants: how many runs they start in a minute, how many jobs they have, what they store.

A tenant without quotas costs nothing here. Runs of backfills are not counted: how many of them are
open at once is what limits those.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Final

from scheduler.domain.flow import FlowPlan
from scheduler.domain.gates import Decision
from scheduler.domain.quota import Quota, too_many_jobs
from scheduler.errors import ConflictError
from scheduler.store.catalogue import TenantJobs
from scheduler.store.queries import queries
from scheduler.store.stores import Store
from schemas.vocabulary import Verdict

if TYPE_CHECKING:
    from scheduler.store.pool import Connection

Q: Final = queries("tenants")

_PAGES: Final = 2000
"""Of each table at most about so many are read; of a larger one the rest is estimated from them."""


class Starts:
    """What the tenants of one batch of firings may still start; theirs alone until the transaction ends."""

    def __init__(self, quotas: Mapping[str, Quota], runs: Counter[str]) -> None:
        self._quotas = quotas
        self._runs = runs
        """Of this minute, by tenant."""

    @classmethod
    async def lock(cls, db: "Connection", tenants: Mapping[str, TenantJobs]) -> "Starts":
        """Count what tenants with a quota have started; one after the other in the order of their names."""
        quotas = {name: jobs.quota for name, jobs in sorted(tenants.items()) if jobs.quota.limits_starts}
        limited = [name for name, quota in quotas.items() if quota.max_runs_per_minute is not None]
        return cls(quotas, Counter({name: await db.fetchval(Q["lock_starts"], name) for name in limited}))

    def judge(self, tenant: str, decision: Decision) -> Decision:
        """Return ``decision``, or why the tenant's quotas forbid what it would start."""
        quota = self._quotas.get(tenant)
        if quota is None or decision.verdict is not Verdict.STARTED:
            return decision
        why = quota.full(tenant) or quota.spent(tenant, self._runs[tenant])
        return decision if why is None else Decision(Verdict.OVER_QUOTA, why)

    def note(self, tenant: str, plan: FlowPlan) -> None:
        """Let the next firing of the batch see what this one starts."""
        if tenant in self._quotas:
            self._runs[tenant] += len(plan.runs)

    async def spend(self, db: "Connection", started: Iterable[tuple[str, FlowPlan]]) -> None:
        """Count the runs of the flows that are written, by tenant."""
        if not self._runs:
            return
        counted: Counter[str] = Counter()
        for tenant, plan in started:
            if tenant in self._runs:
                counted[tenant] += len(plan.runs)
        for tenant, runs in counted.items():
            await db.execute(Q["count_starts"], tenant, runs)


async def check_apply(db: "Connection", tenant: str, jobs: int, *, grows: bool) -> None:
    """Refuse definitions that a quota forbids; the caller holds the tenant. What only removes is always let through.

    Raises:
        ConflictError: ``jobs`` would be too many, or the tenant stores too much already.
    """
    row = await db.fetchrow(Q["get_quota"], tenant)
    if row is None or not grows:
        return
    if row["max_jobs"] is not None and jobs > row["max_jobs"]:
        raise ConflictError(too_many_jobs(tenant, jobs, row["max_jobs"]))
    if why := Quota(row["max_runs_per_minute"], row["max_storage_bytes"], row["storage_bytes"]).full(tenant):
        raise ConflictError(why)


async def measure_storage(store: Store) -> None:
    """Measure what tenants with a quota store: their rows without indexes, large tables by a sample of their pages."""
    async with store.transaction() as db:
        if await db.fetchval(Q["has_storage_quota"]):
            await db.execute(Q["store_storage"], _PAGES)
