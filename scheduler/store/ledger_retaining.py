"""The end of firings and events: a batch at a time, written down before where there is an archive.

What is archived is complete and on the disk before the database commits that it is gone. A crash between the two
leaves both, and what is still there is written down once more: twice in the archive perhaps, by its id, and never
in neither.
"""

from itertools import groupby
from operator import itemgetter
from typing import Any, Final

from scheduler.crash import crash_point
from scheduler.domain.retention import RetentionSettings
from scheduler.store.archive import TenantFiles
from scheduler.store.queries import queries
from scheduler.store.stores import Store

Q: Final = queries("retention")
Row = dict[str, Any]

BATCH: Final = 5000
"""Firings or events that are looked at in one transaction, and lines of a file at most."""
_ROWS: Final = 20
"""Lines in memory at once: the data of an event may have a megabyte."""


async def forget_some(store: Store, settings: RetentionSettings, query: str, *behind: Any) -> Row:
    """Have ``query`` forget what is over in the next batch ``behind`` a place; return its counts, and where it ends.

    A file is named after its first line, which is gone with the commit: none takes the place of another.

    Raises:
        ConfigurationError: the archive cannot be written to; nothing is gone.
    """
    files = TenantFiles(settings.archive, compress=settings.compress)
    counts: Row = {}
    what = query.removeprefix("forget_")
    try:
        async with store.transaction(flush=False) as db:
            archived = settings.archive is not None
            cursor = await db.cursor(Q[query], *behind, BATCH, settings.ledger, archived)
            while rows := await cursor.fetch(_ROWS):
                if rows[-1]["owner"] is None:
                    counts = dict(rows.pop())
                for tenant, found in groupby(rows, key=itemgetter("owner")):
                    of_tenant = list(found)
                    name = f"{of_tenant[0]['day'].isoformat()}-{what}-{of_tenant[0]['id']}.jsonl"
                    await files.write(tenant, name, [row["line"] for row in of_tenant])
            await files.finish()
            crash_point("retention.archived")
    finally:
        files.give_up()
    return counts
