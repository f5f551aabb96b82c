"""Which version of its definition each job has, and what versions say. A version never changes."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from scheduler.store.queries import columns, queries
from scheduler.store.stores import Store
from schemas.job_spec import JobSpec

Q: Final = queries("definitions")
JobVersion = tuple[UUID, int]
"""A job and a version of its definition."""


@dataclass(frozen=True, slots=True)
class CurrentVersion:
    """How a job is defined now."""

    name: str
    source: str | None
    version: JobVersion


async def list_current_versions(store: Store, tenant: str) -> list[CurrentVersion]:
    """Return the version of every job of ``tenant``, by name."""
    async with store.connection() as db:
        rows = await db.fetch(Q["list_current_versions"], tenant)
    return [CurrentVersion(row["name"], row["source"], (row["id"], row["version"])) for row in rows]


async def get_versions(store: Store, tenant: str, versions: Collection[JobVersion]) -> dict[JobVersion, JobSpec]:
    """Return the definitions that these versions of jobs of ``tenant`` are."""
    async with store.connection() as db:
        rows = await db.fetch(Q["get_versions"], tenant, *columns(versions))
    return {(row["job_id"], row["version"]): JobSpec.model_validate(row["spec"]) for row in rows}
