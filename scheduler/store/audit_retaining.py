"""The end of entries of the audit log: by whole days, written down before where there is an archive.

That a day is gone is an entry itself.
"""

from itertools import groupby
from operator import itemgetter
from typing import Final

from scheduler.domain.audit import AuditAction, AuditKind
from scheduler.domain.retention import RetentionSettings
from scheduler.store.archive import TenantFiles
from scheduler.store.audit import Change, record_changes
from scheduler.store.queries import queries
from scheduler.store.stores import Store

Q: Final = queries("retention")

_ROWS: Final = 500
"""Lines in memory at once, of some 8 KiB at most."""


async def forget_audit_day(store: Store, settings: RetentionSettings) -> int:
    """Delete the oldest day whose time is over; return how many entries it had, 0 when there is none.

    A file is named after its first line: what a tenant did in another database on that day has one of its own.

    Raises:
        ConfigurationError: the archive cannot be written to; nothing is deleted.
    """
    files = TenantFiles(settings.archive, compress=settings.compress)
    try:
        return await _forget_day(store, settings, files)
    finally:
        files.give_up()


async def _forget_day(store: Store, settings: RetentionSettings, files: TenantFiles) -> int:
    gone, day = 0, ""
    async with store.transaction() as db:
        cursor = await db.cursor(Q["forget_audit"], settings.audit)
        while rows := await cursor.fetch(_ROWS):
            day = rows[0]["day"].isoformat()
            for tenant, found in groupby(rows, key=itemgetter("tenant")):
                of_tenant = list(found)
                await files.write(tenant, f"{day}-audit-{of_tenant[0]['id']}.jsonl", [row["line"] for row in of_tenant])
            gone += len(rows)
        await files.finish()
        if gone:
            done = Change(AuditAction.PRUNE, AuditKind.HISTORY, "audit", after={"day": day, "entries": gone})
            await record_changes(db, store.by, store.by.tenant, [done])
    return gone
