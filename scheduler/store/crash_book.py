"""The notes of readers that have the database at hand: one row for each message in hand alone."""

from typing import Final

from scheduler.store.queries import queries
from scheduler.store.stores import Store

Q: Final = queries("crashes")


class StoreCrashBook:
    """Rows in the main store. A note outlives the process at once, and the database server in a moment."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def note(self, digest: bytes, queue: str) -> int:
        """See the port."""
        async with self._store.connection() as db:
            crashes: int = await db.fetchval(Q["note_message"], digest, queue)
        return crashes

    async def forget(self, digest: bytes) -> None:
        """See the port."""
        async with self._store.connection() as db:
            await db.execute(Q["forget_message"], digest)
