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

_VERSIONS_KEPT: Final = 20_000
"""Definitions of old versions held for runs of flows that began with them; then the cache starts anew."""


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
    """Definitions of one store, by tenant, and old versions by job."""

    def __init__(self) -> None:
        self._tenants: dict[str, TenantJobs] = {}
        self._versions: dict[tuple[UUID, int], JobSpec] = {}
        self._texts: dict[str, JobSpec] = {}

    async def preload(self, db: "Connection") -> None:
        """Read what has changed before a firing has to wait for it."""
        await self.current(db, {row["name"]: row["revision"] for row in await db.fetch(Q["list_revisions"])})

    async def current(self, db: "Connection", revisions: Mapping[str, int]) -> Mapping[str, TenantJobs]:
        """Return the jobs of the tenants in ``revisions``, which ``db`` has just read."""
        found: dict[str, TenantJobs] = {}
        for name, revision in revisions.items():
            known = self._tenants.get(name)
            if known is None or known.revision != revision:
                known = self._tenants[name] = await self._load(db, name, revision)
            found[name] = known
        return found

    @property
    def loaded(self) -> Mapping[str, TenantJobs]:
        """What is in memory, as of the last look."""
        return self._tenants

    async def versions(
        self, db: "Connection", wanted: Iterable[tuple[UUID, int]]
    ) -> Mapping[tuple[UUID, int], JobSpec]:
        """Return the definitions (job, version); all of them exist, versions are never deleted."""
        if len(self._versions) > _VERSIONS_KEPT:
            self._versions.clear()
            self._texts.clear()
        keys = set(wanted)
        missing = [key for key in keys if key not in self._versions]
        if missing:
            rows = await db.fetch(Q["get_versions"], [job for job, _ in missing], [version for _, version in missing])
            for job, version, spec in rows:
                self._versions[job, version] = self._parse(spec)
        return {key: self._versions[key] for key in keys}

    async def _load(self, db: "Connection", tenant: str, revision: int) -> TenantJobs:
        entries: list[JobEntry] = []
        for row in await db.fetch(Q["list_jobs"], tenant):
            key = (row["id"], row["version"])
            spec = self._versions.get(key)
            if spec is None:
                spec = self._versions[key] = self._parse(row["spec"])
            entries.append(JobEntry(row["id"], row["name"], row["version"], row["enabled"], row["paused"], spec))
        return TenantJobs(revision, entries)

    def _parse(self, text: str) -> JobSpec:
        """Read a definition; jobs made from one template share theirs."""
        spec = self._texts.get(text)
        if spec is None:
            spec = self._texts[text] = JobSpec.model_validate_json(text)
        return spec
