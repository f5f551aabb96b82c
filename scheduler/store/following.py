"""Follows a run while it runs, at a place of one's own: how far it is, what it writes, how its attempts end.

For whoever shows a run live. What is lost on the way, or came faster than it is told, shows as a gap; what is
stored at an attempt's end fills in what was not shown of it.
"""

from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from scheduler.clock import Clock
from scheduler.errors import NotFoundError
from scheduler.store.queries import queries
from scheduler.store.stores import Store
from scheduler.store.telling import ask_to_follow
from scheduler.voice import Piece, Told

Q: Final = queries("telling")

LOOK_S: Final = 0.25
_ASK_S: Final = 3.0
_PATIENCE_S: Final = 1.5
"""So long the last pieces of an attempt may come after its end, and those that would fill a gap."""
_MOST_KEPT: Final = 64 * 1024


@dataclass(frozen=True, slots=True)
class Wrote:
    """Text that an attempt wrote, without secrets; not necessarily whole lines."""

    attempt: int
    text: str


@dataclass(frozen=True, slots=True)
class Missed:
    """Bytes of an attempt's output that cannot be shown here."""

    attempt: int
    size: int


@dataclass(frozen=True, slots=True)
class Went:
    """How far an attempt says that it is."""

    attempt: int
    told: Told


@dataclass(frozen=True, slots=True)
class AttemptOver:
    """An attempt has ended, and all that is known of its output was shown."""

    attempt: int
    outcome: str
    reason: str | None


@dataclass(frozen=True, slots=True)
class RunOver:
    """The run has ended: the last word."""

    job: str
    state: str
    reason: str | None


Word = Wrote | Missed | Went | AttemptOver | RunOver


class Follower:
    """One look after another at one run; ``look`` returns what is new."""

    def __init__(self, store: Store, tenant: str, run_id: UUID, clock: Clock, *, attempt: int = 1) -> None:
        """``attempt``: begin with that one."""
        self._store = store
        self._tenant = tenant
        self._run_id = run_id
        self._clock = clock
        self._attempt = attempt
        """The one being shown: those before it are over."""
        self._shown = 0
        self._text: str | None = ""
        """What was shown of it; None: not all of it, or too much to be kept."""
        self._told: Told | None = None
        self._ask_due = -1.0
        self._rewind = True
        self._waits_since: float | None = None

    async def look(self) -> list[Word]:
        """Return what is new since the last look; with a RunOver at the end, there will be nothing more.

        Raises:
            NotFoundError: there is no such run.
        """
        async with self._store.connection() as db:
            run = await db.fetchrow(Q["look_at_run"], self._tenant, self._run_id)
            if run is None:
                raise NotFoundError(f"there is no run {self._run_id}")
            ended = await db.fetch(Q["list_ended"], self._run_id, self._attempt)
            pieces = await db.fetch(Q["list_pieces"], self._run_id, self._attempt)
        await self._ask(run)
        words = list(self._words(run, {row["attempt"]: row for row in ended}, pieces))
        if run["over"] and not any(row["attempt"] >= self._attempt for row in ended):
            words.append(RunOver(run["job"], run["state"], run["reason"]))
        return words

    async def _ask(self, run: Any) -> None:
        now = self._clock.monotonic()
        if run["state"] == "running" and (now >= self._ask_due or self._rewind):
            begin = self._shown if self._rewind and run["attempt"] == self._attempt else None
            await ask_to_follow(self._store, self._tenant, self._run_id, run["attempt"], begin)
            self._ask_due, self._rewind = now + _ASK_S, False

    def _words(self, run: Any, ended: dict[int, Any], pieces: Iterable[Any]) -> Iterator[Word]:
        live: dict[int, list[Piece]] = {}
        for row in pieces:
            live.setdefault(row["attempt"], []).append(Piece(row["starts_at"], row["ends_at"], row["text"]))
        while self._attempt <= max(run["attempt"], *ended, 0):
            end = ended.get(self._attempt)
            yield from self._show(live.get(self._attempt, ()), patient=end is None or not self._waited(end))
            if end is None and run["attempt"] <= self._attempt:
                break
            if end is None:  # nothing is kept of it
                self._begin(self._attempt + 1)
                continue
            if self._shown < end["total_bytes"] and not self._waited(end):
                return
            yield from self._show_rest(end)
            yield AttemptOver(self._attempt, end["outcome"], end["reason"])
            self._begin(self._attempt + 1)
        if run["attempt"] == self._attempt and run["done"] is not None:
            told = Told(run["done"], run["total"], run["message"])
            if told != self._told:
                self._told = told
                yield Went(self._attempt, told)

    def _waited(self, end: Any) -> bool:
        """Whether the last pieces of an ended attempt have had their time; nobody waits where none was shown."""
        if self._shown == 0 or self._shown >= end["total_bytes"]:
            return True
        self._waits_since = self._clock.monotonic() if self._waits_since is None else self._waits_since
        return self._clock.monotonic() - self._waits_since >= _PATIENCE_S

    def _show(self, pieces: Iterable[Piece], *, patient: bool) -> Iterator[Word]:
        for piece in pieces:
            fresh = _after(piece, self._shown)
            if fresh is None:
                continue
            if fresh.at > self._shown:
                if patient and self._waits_for_filling():
                    return
                yield self._miss(fresh.at - self._shown)
            self._waits_since = None
            self._shown = fresh.until
            yield self._write(fresh.text)

    def _waits_for_filling(self) -> bool:
        """Whether what is missing may still come: it is asked for once."""
        now = self._clock.monotonic()
        if self._waits_since is None:
            self._waits_since, self._rewind = now, True
        return now - self._waits_since < _PATIENCE_S

    def _show_rest(self, end: Any) -> Iterator[Word]:
        """Show what is stored of an attempt's output and was not shown live."""
        head, tail, total = end["head"] or "", end["tail"] or "", end["total_bytes"]
        if self._shown >= total:
            return
        shown = self._shown
        if shown == 0:
            shown = len(head.encode())
            yield self._write(head)
        elif not tail and self._text is not None and head.startswith(self._text):
            yield self._write(head[len(self._text) :])
        elif not tail:  # all of it again, rather than a guess at what was not shown
            yield self._miss(total - shown)
            yield self._write(head)
        if tail:
            yield self._miss(max(0, total - shown - len(tail.encode())))
            yield self._write(tail)

    def _write(self, text: str) -> Wrote:
        if self._text is not None:
            self._text = self._text + text if len(self._text) + len(text) <= _MOST_KEPT else None
        return Wrote(self._attempt, text)

    def _miss(self, size: int) -> Missed:
        self._text = None
        return Missed(self._attempt, size)

    def _begin(self, attempt: int) -> None:
        self._attempt, self._shown, self._text, self._told = attempt, 0, "", None
        self._rewind, self._waits_since = True, None


async def follow(store: Store, tenant: str, run_id: UUID, clock: Clock, *, attempt: int = 1) -> AsyncIterator[Word]:
    """Yield what a run says until it is over; a quarter of a second after it was said, or less.

    Raises:
        NotFoundError: there is no such run.
    """
    follower = Follower(store, tenant, run_id, clock, attempt=attempt)
    while True:
        for word in await follower.look():
            yield word
            if isinstance(word, RunOver):
                return
        await clock.sleep(LOOK_S)


def _after(piece: Piece, position: int) -> Piece | None:
    """Return what of a piece lies behind ``position``; None when nothing does, or it cannot be cut there."""
    if piece.until <= position:
        return None
    if piece.at >= position:
        return piece
    raw = piece.text.encode()
    if len(raw) != piece.until - piece.at:  # something is masked: bytes of it are not bytes of the output
        return None
    return Piece(position, piece.until, raw[position - piece.at :].decode("utf-8", "replace"))
