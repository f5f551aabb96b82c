"""Stored webhooks: applied and pruned with the definitions, read by who receives requests."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from scheduler.domain.watching import parts_of
from scheduler.errors import DefinitionsError
from scheduler.store.queries import queries
from scheduler.store.stores import Store
from schemas.event_trigger import WebhookTrigger
from schemas.job_spec import JobSpec
from schemas.webhook_spec import WebhookSpec

if TYPE_CHECKING:
    from scheduler.store.pool import Connection

Q: Final = queries("webhooks")


@dataclass(frozen=True, slots=True)
class WebhookChanges:
    """Names of endpoints that an apply made or changed, and that it removed; sorted."""

    changed: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    before: Mapping[str, Any] = field(default_factory=dict)
    """How those of them stood that were there."""

    def __bool__(self) -> bool:
        return bool(self.changed or self.removed)


@dataclass(frozen=True, slots=True)
class StoredWebhook:
    """An endpoint as it is now."""

    spec: WebhookSpec
    source: str | None


async def apply_webhooks(
    db: "Connection", tenant: str, specs: Mapping[str, WebhookSpec], source: str | None, *, prune: bool
) -> WebhookChanges:
    """Make the tenant's endpoints those of ``specs``, within the caller's transaction, after its triggers.

    ``prune`` removes those that the same source applied before and does not name any more.

    Raises:
        DefinitionsError: a trigger still uses one that would go.
    """
    held = {row["name"]: row for row in await db.fetch(Q["lock_webhooks"], tenant)}
    rows = {name: spec.model_dump(mode="json", exclude_defaults=True) for name, spec in specs.items()}
    changed = sorted(name for name, row in rows.items() if name not in held or held[name]["spec"] != row)
    adopted = [name for name in rows if name in held and held[name]["source"] != source]
    written = sorted({*changed, *adopted})
    if written:
        await db.execute(Q["write_webhooks"], tenant, source, written, [rows[name] for name in written])
    mine = {name for name, row in held.items() if prune and source is not None and row["source"] == source}
    removed = sorted(mine - rows.keys())
    if removed:
        users = await db.fetch(Q["list_webhook_users"], tenant, removed)
        problems = [
            {
                "path": f"webhooks.{row['webhook']}",
                "message": f"cannot be removed, trigger {row['trigger']} of job {row['job']} uses it",
            }
            for row in users
        ]
        if problems:
            raise DefinitionsError([f"{problem['path']}: {problem['message']}" for problem in problems], problems)
        await db.execute(Q["delete_webhooks"], tenant, removed)
    return WebhookChanges(changed, removed, {name: held[name]["spec"] for name in (*changed, *removed) if name in held})


async def list_webhooks(store: Store, tenant: str) -> dict[str, StoredWebhook]:
    """Return every endpoint of ``tenant`` by name."""
    async with store.connection() as db:
        rows = await db.fetch(Q["list_webhooks"], tenant)
    return {
        row["name"]: StoredWebhook(WebhookSpec.model_validate(row["spec"], extra="ignore"), row["source"])
        for row in rows
    }


async def list_all_webhooks(store: Store) -> dict[tuple[str, str], WebhookSpec]:
    """Return every endpoint of the store by tenant and name."""
    async with store.connection() as db:
        rows = await db.fetch(Q["list_all_webhooks"])
    return {(row["tenant"], row["name"]): WebhookSpec.model_validate(row["spec"], extra="ignore") for row in rows}


def named_webhooks(jobs: Iterable[JobSpec]) -> set[str]:
    """Return the endpoints that triggers of ``jobs`` name."""
    parts = [part for spec in jobs for trigger in spec.triggers for _, part in parts_of(trigger)]
    return {part.webhook for part in parts if isinstance(part, WebhookTrigger)}


def exported_webhooks(
    stored: Mapping[str, StoredWebhook], source: str | None, named: Collection[str]
) -> dict[str, WebhookSpec]:
    """Return the endpoints that an export of ``source`` (None: of all) has: its own, and those its jobs name."""
    return {name: hook.spec for name, hook in stored.items() if source in {None, hook.source} or name in named}
