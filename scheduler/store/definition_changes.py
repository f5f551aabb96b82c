"""What an apply changes, as the audit log says it: versions, digests, and which keys differ.

The versions themselves stay where they are, so that what stood and what stands can be read in full.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from scheduler.domain.audit import AuditAction, AuditKind
from scheduler.store.audit import Change, digest_of
from scheduler.store.calendar_rows import CalendarRows
from scheduler.store.webhooks import WebhookChanges
from schemas.calendar_spec import CalendarSpec
from schemas.webhook_spec import WebhookSpec

if TYPE_CHECKING:
    import asyncpg


class Moved(Protocol):
    """A job that is new, or different from what it was."""

    @property
    def name(self) -> str: ...
    @property
    def version(self) -> int: ...
    @property
    def is_new(self) -> bool: ...


class Applied(Protocol):
    """What was to be."""

    @property
    def source(self) -> str | None: ...
    @property
    def calendars(self) -> Mapping[str, CalendarSpec]: ...
    @property
    def webhooks(self) -> Mapping[str, WebhookSpec]: ...


def job_changes(
    wanted: Applied, known: Mapping[str, "asyncpg.Record"], moved: Sequence[Moved], specs: Mapping[str, Any]
) -> Iterator[Change]:
    """Return jobs that are made, changed, or from now on another source's; ``known`` is how they stood."""
    for job in moved:
        spec, row = specs[job.name], known.get(job.name)
        after = {"version": job.version, "sha256": digest_of(spec), "source": wanted.source}
        if row is None or job.is_new:
            yield Change(AuditAction.CREATE, AuditKind.JOB, job.name, after=after)
            continue
        differ = sorted(key for key in row["spec"].keys() | spec.keys() if row["spec"].get(key) != spec.get(key))
        yield Change(AuditAction.CHANGE, AuditKind.JOB, job.name, _stood(row), after | {"keys": differ})
    for name in sorted(specs.keys() - {job.name for job in moved}):
        if known[name]["source"] != wanted.source:
            before, after = {"source": known[name]["source"]}, {"source": wanted.source}
            yield Change(AuditAction.CHANGE, AuditKind.JOB, name, before, after)


def deletions(gone: Sequence["asyncpg.Record"]) -> list[Change]:
    """Return the deletion of each of these jobs."""
    return [Change(AuditAction.DELETE, AuditKind.JOB, row["name"], _stood(row)) for row in gone]


def calendar_changes(wanted: Applied, calendars: CalendarRows, removed: Sequence[str]) -> Iterator[Change]:
    """Return the calendars that got a version, a country's too that a trigger names, and those that go."""
    for name, change in calendars.changes.items():
        before = calendars.before.get(name)
        stood = None if before is None else {"version": before.version}
        action = AuditAction.CREATE if before is None else AuditAction.CHANGE
        spec = wanted.calendars.get(name)
        given = {} if spec is None else {"sha256": digest_of(spec.model_dump(mode="json", exclude_defaults=True))}
        yield Change(action, AuditKind.CALENDAR, name, stood, {"version": change.version} | given)
    for name in removed:
        yield Change(AuditAction.DELETE, AuditKind.CALENDAR, name, {"version": calendars.before[name].version})


def webhook_changes(wanted: Applied, changes: WebhookChanges) -> Iterator[Change]:
    """Return the endpoints that are made, changed or removed; their secrets are references."""
    for name in changes.changed:
        before = changes.before.get(name)
        action = AuditAction.CREATE if before is None else AuditAction.CHANGE
        after = wanted.webhooks[name].model_dump(mode="json", exclude_defaults=True)
        yield Change(action, AuditKind.WEBHOOK, name, before, after)
    for name in changes.removed:
        yield Change(AuditAction.DELETE, AuditKind.WEBHOOK, name, changes.before[name])


def _stood(row: "asyncpg.Record") -> dict[str, Any]:
    return {"version": row["version"], "sha256": digest_of(row["spec"]), "source": row["source"]}
