"""The jobs of a tenant as they stand now, kept in memory and reloaded when the tenant's revision moves."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Final
from uuid import UUID

from scheduler.domain.dag import Graph
from scheduler.domain.gates import JobEntry
from scheduler.store.queries import queries
from schemas.job_spec import JobSpec

if TYPE_CHECKING:
    from scheduler.store.pool import Connection

Q: Final = queries("catalogue")

_OLDER_KEPT: Final = 20_000
"""Definitions of old versions held for runs of flows that began with them; then that cache starts anew."""
_BATCH: Final = 200


class TenantJobs:
    """All jobs of one tenant at one revision."""

    def __init__(self, revision: int, entries: Iterable[JobEntry]) -> None:
        self.revision = revision
        self.by_id: Mapping[UUID, JobEntry] = {entry.id: entry for entry in entries}
        self.ids_by_name: Mapping[str, UUID] = {entry.name: entry.id for entry in self.by_id.values()}
        self.handlers: Mapping[str, list[UUID]] = self._by_handler()
        self._graph = Graph({e.name: [need.job for need in e.spec.needs] for e in self.by_id.values()})
        self._closures: dict[UUID, tuple[JobEntry, ...]] = {}

    def downstream(self, job: JobEntry) -> Sequence[JobEntry]:
        """Return everything that follows ``job``, each after all it needs."""
        closure = self._closures.get(job.id)
        if closure is None:
            names = self._graph.downstream(job.name) if self._graph.below[job.name] else ()
            closure = tuple(self.by_id[self.ids_by_name[name]] for name in names)
            self._closures[job.id] = closure
        return closure

    def _by_handler(self) -> dict[str, list[UUID]]:
        found: dict[str, list[UUID]] = {}
        for entry in self.by_id.values():
            if entry.spec.run.handler is not None:
                found.setdefault(entry.spec.run.handler, []).append(entry.id)
        return found


class Catalogue:
    """Definitions of one store: the newest of each tenant, and old versions that flows still run by."""

    def __init__(self) -> None:
        self._tenants: dict[str, TenantJobs] = {}
        self._newest: dict[tuple[UUID, int], JobSpec] = {}
        self._older: dict[tuple[UUID, int], JobSpec] = {}

    @property
    def loaded(self) -> Mapping[str, TenantJobs]:
        """What is in memory, as of the last look."""
        return self._tenants

    async def preload(self, db: "Connection") -> None:
        """Read what has changed before a firing has to wait for it."""
        await self.current(db, {row["name"]: row["revision"] for row in await db.fetch(Q["list_revisions"])})

    async def current(self, db: "Connection", revisions: Mapping[str, int]) -> Mapping[str, TenantJobs]:
        """Return the jobs of the tenants in ``revisions``, which ``db`` has just read."""
        found: dict[str, TenantJobs] = {}
        for name, revision in revisions.items():
            known = self._tenants.get(name)
            if known is None or known.revision != revision:
                known = await self._load(db, name, revision)
            found[name] = known
        return found

    async def versions(
        self, db: "Connection", wanted: Iterable[tuple[UUID, int]]
    ) -> Mapping[tuple[UUID, int], JobSpec]:
        """Return the definitions (job, version); all of them exist, versions are never deleted."""
        found: dict[tuple[UUID, int], JobSpec] = {}
        missing: list[tuple[UUID, int]] = []
        for key in set(wanted):
            spec = self._newest.get(key) or self._older.get(key)
            if spec is None:
                missing.append(key)
            else:
                found[key] = spec
        if missing:
            read = await _read(db, missing)
            if len(self._older) + len(read) > _OLDER_KEPT:
                self._older.clear()
            self._older.update(read)
            found.update(read)
        return found

    async def _load(self, db: "Connection", tenant: str, revision: int) -> TenantJobs:
        """Read the jobs of ``tenant``, and the definitions of those that changed."""
        rows = await db.fetch(Q["list_jobs"], tenant)
        keys = [(row["id"], row["version"]) for row in rows]
        specs = {key: self._newest[key] for key in keys if key in self._newest}
        specs |= await _read(db, [key for key in keys if key not in specs])
        if before := self._tenants.get(tenant):
            for entry in before.by_id.values():
                self._newest.pop((entry.id, entry.version), None)
        self._newest.update(specs)
        entries = [
            JobEntry(row["id"], row["name"], row["version"], row["enabled"], row["paused"], specs[key])
            for row, key in zip(rows, keys, strict=True)
        ]
        jobs = self._tenants[tenant] = TenantJobs(revision, entries)
        return jobs


async def _read(db: "Connection", keys: Sequence[tuple[UUID, int]]) -> dict[tuple[UUID, int], JobSpec]:
    """Read definitions, a batch at a time, so that nothing else waits long; equal texts are parsed once."""
    texts: dict[str, JobSpec] = {}
    found: dict[tuple[UUID, int], JobSpec] = {}
    for at in range(0, len(keys), _BATCH):
        batch = keys[at : at + _BATCH]
        rows = await db.fetch(Q["get_versions"], [job for job, _ in batch], [version for _, version in batch])
        for job, version, text in rows:
            spec = texts.get(text)
            if spec is None:
                spec = texts[text] = JobSpec.model_validate_json(text, extra="ignore")
            found[job, version] = spec
    return found
