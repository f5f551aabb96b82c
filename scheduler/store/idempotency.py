"""Idempotency keys of the HTTP interface: the answer to a request, kept for a day in the request's own transaction."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from scheduler.errors import ConflictError
from scheduler.store.queries import queries
from scheduler.store.stores import Store

Q: Final = queries("idempotency")


@dataclass(frozen=True, slots=True)
class Answer:
    """What was answered, and the digest of the request it was the answer to."""

    digest: bytes
    status: int
    headers: Mapping[str, str]
    body: bytes


class InFlightError(ConflictError):
    """The first request with this key is not over yet."""

    code = "in_flight"


async def find_answer(store: Store, tenant: str, key: str) -> Answer | None:
    """Return what ``key`` was answered with in the last 24 hours; None: never, and the key is the caller's now.

    It is so until the transaction of ``store`` ends.

    Raises:
        InFlightError: another request has the key at this moment.
    """
    async with store.connection() as db:
        if not await db.fetchval(Q["take_key"], tenant, key):
            raise InFlightError(f"a request with idempotency key {key!r} is being worked on")
        row = await db.fetchrow(Q["find_answer"], tenant, key)
    return None if row is None else Answer(row["digest"], row["status"], row["headers"], row["body"])


async def keep_answer(store: Store, tenant: str, key: str, answer: Answer) -> None:
    """Keep what ``key`` is answered with; answers older than a day go."""
    async with store.connection() as db:
        await db.execute(Q["forget_answers"], tenant)
        await db.execute(Q["keep_answer"], tenant, key, answer.digest, answer.status, dict(answer.headers), answer.body)


async def read_cursor_secret(store: Store) -> bytes:
    """Return what cursors are signed with: the same for every process on this database."""
    async with store.connection() as db:
        secret: bytes = await db.fetchval(Q["cursor_secret"])
    return secret
