"""Who did what, and who was refused: for the admins of the tenant."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query, Response

from scheduler.api.lists import Cursor, Limit, next_page, page_start
from scheduler.api.route import ApiRoute, Call, Calling, needs
from scheduler.api.shapes import Shape
from scheduler.api.wants import Moment
from scheduler.domain.access import Action
from scheduler.domain.audit import AuditAction, AuditKind, AuditResult
from scheduler.store.audit import AuditFilter, list_audit
from scheduler.store.stores import Store
from scheduler.store.tenant_store import TenantStore

audit = APIRouter(tags=["audit"], route_class=ApiRoute)

Word = Annotated[str | None, Query(max_length=200)]


class AuditEntry(Shape):
    id: UUID
    at: datetime
    tenant: str
    actor: str
    """`cli:USER@HOST`, `client:…`, `up:…`, `key:ID`, `jwt:SUB`, `loopback`, `anonymous`, `system:ACTOR`."""
    action: AuditAction
    kind: AuditKind
    """Of what it was done to."""
    name: str
    before: dict[str, Any] | None
    after: dict[str, Any] | None
    """What is different, without secrets; of definitions the versions and their SHA-256."""
    result: AuditResult
    count: int
    """So many refusals of one caller, of which this is the last; 1 for what was done."""
    address: str | None
    request_id: str | None


class AuditEntries(Shape):
    audit: list[AuditEntry]
    next: str | None


@audit.get("/audit", openapi_extra=needs(Action.ADMINISTER))
async def list_audit_entries(
    call: Calling,
    response: Response,
    *,
    actor: Annotated[str | None, Query(max_length=200, description="Who; ends in `*`: whoever begins so.")] = None,
    action: AuditAction | None = None,
    kind: AuditKind | None = None,
    name: Word = None,
    result: AuditResult | None = None,
    since: Moment | None = None,
    until: Moment | None = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> AuditEntries:
    """List who changed what, and who was refused, newest first; nobody can change or delete an entry."""
    filters: dict[str, Any] = {
        "actor": actor,
        "action": action and action.value,
        "kind": kind and kind.value,
        "name": name,
        "result": result and result.value,
        "since": since,
        "until": until,
    }
    after = await page_start(call, filters, cursor)
    which = AuditFilter(**filters, after=after, limit=limit)
    rows = await list_audit(_stores(call), call.tenant, which)
    following = await next_page(call, filters, rows, limit, response)
    return AuditEntries(audit=[AuditEntry.model_validate(row) for row in rows], next=following)


def _stores(call: Call) -> list[Store]:
    """Return where entries of the tenant are: in its store and in the main one."""
    main = call.site.opened().main
    return [call.store] if call.store.apart is None else [call.store, TenantStore(main, call.tenant)]
