"""Definitions of jobs as an export says them, each made once: most of an export is what the last one was."""

import asyncio
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from pydantic_core import to_json

from scheduler.definitions.export import exported_job
from scheduler.store.job_versions import JobVersion, get_versions, list_current_versions
from scheduler.store.stores import Store
from scheduler.store.webhooks import named_webhooks
from schemas.job_spec import JobSpec

_MOST_BYTES: Final = 8 * 1024 * 1024
"""Of what is kept; a job takes a few hundred."""


@dataclass(frozen=True, slots=True)
class ExportedJob:
    """One version of a job: its keys as JSON, and the webhooks that its triggers name."""

    text: bytes
    webhooks: frozenset[str]


class ExportedJobs:
    """What was exported last. It says nothing to anybody who may not read the version from the store at hand."""

    def __init__(self) -> None:
        self._known: OrderedDict[JobVersion, ExportedJob] = OrderedDict()
        self._bytes = 0

    async def of(self, store: Store, tenant: str, source: str | None) -> dict[str, ExportedJob]:
        """Return the jobs of ``tenant`` that ``source`` applied (None: all), by name, as they are now."""
        current = await list_current_versions(store, tenant)
        wanted = {job.name: job.version for job in current if source in {None, job.source}}
        found = {version: self._known[version] for version in wanted.values() if version in self._known}
        missing = [version for version in wanted.values() if version not in found]
        if missing:
            specs = await get_versions(store, tenant, missing)
            made = await asyncio.to_thread(_made, specs)
            found |= made
            self._keep(made)
        for version in found:
            if version in self._known:
                self._known.move_to_end(version)
        return {name: found[version] for name, version in wanted.items() if version in found}

    def _keep(self, made: Mapping[JobVersion, ExportedJob]) -> None:
        for version, job in made.items():
            if version not in self._known:
                self._known[version] = job
                self._bytes += len(job.text)
        while self._bytes > _MOST_BYTES:
            _, oldest = self._known.popitem(last=False)
            self._bytes -= len(oldest.text)


def _made(specs: Mapping[JobVersion, JobSpec]) -> dict[JobVersion, ExportedJob]:
    return {
        version: ExportedJob(to_json(exported_job(spec)), frozenset(named_webhooks([spec])))
        for version, spec in specs.items()
    }
