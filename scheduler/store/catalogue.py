"""The jobs of a tenant as they stand now, kept in memory and reloaded when the tenant's revision moves.

A definition that this program cannot read (a newer one has stored it) harms no other job: its
firings, and those of jobs whose flow reaches it, wait for a program that can.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple
from uuid import UUID

import structlog
from pydantic import ValidationError
from pydantic_core import from_json

from scheduler.domain.dag import Graph
from scheduler.domain.gates import JobEntry
from scheduler.domain.quota import Quota
from scheduler.domain.watching import Watching
from scheduler.store.queries import queries
from scheduler.store.unreadable import describe
from schemas.job_spec import JobSpec
from schemas.labels import label_texts

if TYPE_CHECKING:
    from scheduler.store.pool import Connection

log: structlog.stdlib.BoundLogger = structlog.get_logger()

Q: Final = queries("catalogue")

_OLDER_KEPT: Final = 20_000
"""Definitions of old versions held for runs of flows that began with them; then that cache starts anew."""
_BATCH: Final = 200
_OF_JOB: Final = ("id", "name", "version", "enabled", "paused", "suspended")


class Size(NamedTuple):
    """Cores, and bytes of memory and disk space; 0: none in particular."""

    cpu: float
    memory: int
    disk: int


class Unreadable(NamedTuple):
    """A stored definition that this program cannot read."""

    why: str
    needs: Sequence[str]
    """The jobs it needs, as far as that can be read."""


class TenantJobs:
    """All jobs of one tenant at one revision; ``unreadable`` ones (by id: name and definition) have no entry."""

    def __init__(
        self,
        revision: int,
        entries: Iterable[JobEntry],
        unreadable: Mapping[UUID, tuple[str, Unreadable]],
        quota: Quota,
    ) -> None:
        self.revision = revision
        self.quota = quota
        self._unreadable = unreadable
        self._whys = {name: f"job {name} cannot be read: {found.why}" for name, found in unreadable.values()}
        self.by_id: Mapping[UUID, JobEntry] = {entry.id: entry for entry in entries}
        self.ids_by_name: Mapping[str, UUID] = {entry.name: entry.id for entry in self.by_id.values()}
        self.demands: Mapping[str, list[UUID]] = self._by_demand()
        """Jobs by what their executor has to have: the name of a handler, or a label, key=value."""
        self.sizes: Mapping[Size, list[UUID]] = self._by_size()
        """Jobs by how large an executor they demand."""
        self.circuits: Mapping[str, list[UUID]] = self._by_circuit()
        self.enclosed = frozenset(entry.id for entry in self.by_id.values() if entry.spec.isolation == "sandbox")
        self.rates: Mapping[UUID, float] = {
            entry.id: entry.spec.rate.every.total_seconds() for entry in self.by_id.values() if entry.spec.rate
        }
        self.watching = Watching(self.by_id.values())
        needs: dict[str, Sequence[str]] = {e.name: [need.job for need in e.spec.needs] for e in self.by_id.values()}
        self._graph = Graph(needs | {name: found.needs for name, found in unreadable.values()})
        self._closures: dict[UUID, tuple[JobEntry, ...]] = {}

    def downstream(self, job: JobEntry) -> Sequence[JobEntry]:
        """Return everything that follows ``job``, each after all it needs."""
        closure = self._closures.get(job.id)
        if closure is None:
            names = self._graph.downstream(job.name) if self._graph.below[job.name] else ()
            closure = tuple(self.by_id[self.ids_by_name[name]] for name in names if name in self.ids_by_name)
            self._closures[job.id] = closure
        return closure

    def obstacle(self, job_id: UUID) -> str | None:
        """Return why nothing can be decided about ``job_id`` yet: it, or what its flow reaches, cannot be read."""
        if not self._unreadable:
            return None
        if job_id in self._unreadable:
            return self._whys[self._unreadable[job_id][0]]
        job = self.by_id.get(job_id)
        below = self._graph.downstream(job.name) if job is not None and self._graph.below[job.name] else ()
        return next((self._whys[name] for name in below if name in self._whys), None)

    def _by_circuit(self) -> dict[str, list[UUID]]:
        found: dict[str, list[UUID]] = {}
        for entry in self.by_id.values():
            http = entry.spec.run.http
            if http is not None and http.circuit is not None:
                found.setdefault(http.circuit, []).append(entry.id)
        return found

    def _by_demand(self) -> dict[str, list[UUID]]:
        found: dict[str, list[UUID]] = {}
        for entry in self.by_id.values():
            if entry.spec.run.handler is not None:
                found.setdefault(entry.spec.run.handler, []).append(entry.id)
            for label in label_texts(entry.spec.labels):
                found.setdefault(label, []).append(entry.id)
        return found

    def _by_size(self) -> dict[Size, list[UUID]]:
        found: dict[Size, list[UUID]] = {}
        for entry in self.by_id.values():
            wanted = entry.spec.resources
            if wanted is not None and (wanted.cpu or wanted.memory or wanted.disk):
                size = Size(wanted.cpu or 0.0, wanted.memory or 0, wanted.disk or 0)
                found.setdefault(size, []).append(entry.id)
        return found


class Catalogue:
    """Definitions of one store: the newest of each tenant, and old versions that flows still run by."""

    def __init__(self) -> None:
        self._tenants: dict[str, TenantJobs] = {}
        self._newest: dict[tuple[UUID, int], JobSpec] = {}
        self._older: dict[tuple[UUID, int], JobSpec] = {}
        self._told: set[tuple[UUID, int]] = set()

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
        """Return the definitions (job, version). All exist; one that cannot be read is left out."""
        found: dict[tuple[UUID, int], JobSpec] = {}
        missing: list[tuple[UUID, int]] = []
        for key in set(wanted):
            spec = self._newest.get(key) or self._older.get(key)
            if spec is None:
                missing.append(key)
            else:
                found[key] = spec
        if missing:
            read, _ = await _read(db, missing)
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
        read, unreadable = await _read(db, [key for key in keys if key not in specs])
        specs |= read
        if before := self._tenants.get(tenant):
            for entry in before.by_id.values():
                self._newest.pop((entry.id, entry.version), None)
        self._newest.update(specs)
        entries = [
            JobEntry(**{name: row[name] for name in _OF_JOB}, spec=specs[key])
            for row, key in zip(rows, keys, strict=True)
            if key in specs
        ]
        left_out = {row["id"]: (row["name"], unreadable[key]) for row, key in zip(rows, keys, strict=True)
                    if key not in specs}  # fmt: skip
        self._tell(tenant, unreadable, {row["id"]: row["name"] for row in rows})
        quota = Quota(*await db.fetchrow(Q["get_quota"], tenant) or ())
        jobs = self._tenants[tenant] = TenantJobs(revision, entries, left_out, quota)
        return jobs

    def _tell(self, tenant: str, found: Mapping[tuple[UUID, int], Unreadable], names: Mapping[UUID, str]) -> None:
        """Log each version that cannot be read once."""
        for key, left_out in found.items():
            if key not in self._told:
                self._told.add(key)
                log.error("job.unreadable", tenant=tenant, job=names[key[0]], version=key[1], error=left_out.why)


async def _read(
    db: "Connection", keys: Sequence[tuple[UUID, int]]
) -> tuple[dict[tuple[UUID, int], JobSpec], dict[tuple[UUID, int], Unreadable]]:
    """Read definitions, a batch at a time, so that nothing else waits long; equal texts are parsed once."""
    texts: dict[str, JobSpec | Unreadable] = {}
    found: dict[tuple[UUID, int], JobSpec] = {}
    unreadable: dict[tuple[UUID, int], Unreadable] = {}
    for at in range(0, len(keys), _BATCH):
        batch = keys[at : at + _BATCH]
        rows = await db.fetch(Q["get_versions"], [job for job, _ in batch], [version for _, version in batch])
        for job, version, text in rows:
            spec = texts.get(text)
            if spec is None:
                spec = texts[text] = _parse(text)
            if isinstance(spec, Unreadable):
                unreadable[job, version] = spec
            else:
                found[job, version] = spec
    return found, unreadable


def _parse(text: str) -> JobSpec | Unreadable:
    try:
        return JobSpec.model_validate_json(text, extra="ignore")
    except ValidationError as error:
        raw = from_json(text)
        needs = (raw.get("needs") or ()) if isinstance(raw, dict) else ()
        names = [need["job"] for need in needs if isinstance(need, dict) and isinstance(need.get("job"), str)]
        return Unreadable(describe(error), names)
