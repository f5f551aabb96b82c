"""The async client."""

import asyncio
import json
import os
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Self
from uuid import UUID

from scheduler.client.answers import Attempt, Fired, Log, Run
from scheduler.client.opening import open_store
from scheduler.clock import SystemClock
from scheduler.config import load_settings
from scheduler.errors import CallerError, NotFoundError
from scheduler.store import control, reading
from scheduler.store.cancelling import CancelFilter, cancel_runs, list_cancellable
from scheduler.store.stores import Store
from scheduler.store.waiting import is_over, wait_for_ends
from schemas.durations import parse_duration
from schemas.vocabulary import RunState

Span = str | float | timedelta
"""A duration: ``"5m"``, seconds, or a timedelta."""


class Client:
    """A context manager: ``async with Client() as client``. Belongs to one event loop.

    It goes to ``database_url``, else to the `scheduler up` that runs on ``data_dir``; what is not given
    comes from the settings: environment, then scheduler.toml. Every method may raise
    DatabaseUnavailableError, which another try may heal; other errors are named with the methods
    and are those of ``scheduler.errors``.
    """

    def __init__(
        self, *, database_url: str | None = None, data_dir: str | Path | None = None, tenant: str | None = None
    ) -> None:
        flags = {"database_url": database_url, "data_dir": data_dir, "tenant": tenant}
        if data_dir is not None and database_url is None:
            environ = {name: value for name, value in os.environ.items() if "DATABASE_URL" not in name}
        else:
            environ = dict(os.environ)
        self._settings = load_settings(flags, environ).settings
        self._clock = SystemClock()
        self._stack = AsyncExitStack()
        self._opened: Store | None = None

    async def __aenter__(self) -> Self:
        self._opened = await self._stack.enter_async_context(open_store(self._settings, name="client"))
        return self

    async def __aexit__(self, *_: object) -> None:
        self._opened = None
        await self._stack.aclose()

    async def trigger(
        self,
        job: str,
        params: Mapping[str, Any] | None = None,
        *,
        wait: bool = False,
        timeout: Span | None = None,
        traceparent: str | None = None,
    ) -> Fired:
        """Fire a job now, and with ``wait`` come back when its run has ended, or after ``timeout`` as it stands then.

        The run joins the trace that ``traceparent`` names (W3C trace context); what is none is ignored.

        Raises:
            NotFoundError: there is no such job.
            ConflictError: it is disabled.
            CallerError: the params are not a JSON object.
        """
        return (await self.trigger_all([job], params, wait=wait, timeout=timeout, traceparent=traceparent))[0]

    async def trigger_all(
        self,
        jobs: Sequence[str],
        params: Mapping[str, Any] | None = None,
        *,
        wait: bool = False,
        timeout: Span | None = None,
        traceparent: str | None = None,
    ) -> list[Fired]:
        """Fire several jobs at once: all of them or, when one cannot be, none. As ``trigger`` otherwise."""
        checked = _checked(params)
        asked = await control.trigger_jobs(
            self._store, self._tenant, jobs, params=checked, clock=self._clock, traceparent=traceparent
        )
        fired = [Fired(firing_id=one.firing_id, job=one.job) for one in asked]
        return await self.wait(fired, timeout=timeout) if wait else fired

    async def wait(self, fired: Sequence[Fired], *, timeout: Span | None = None) -> list[Fired]:
        """Return the same firings when all are over, or as they stand after ``timeout``: see ``Fired.over``."""
        seen: dict[UUID, reading.Row] = {}
        try:
            async with asyncio.timeout(_seconds(timeout)):
                await wait_for_ends(self._store, [one.firing_id for one in fired], seen, self._clock)
        except TimeoutError:
            pass  # the answer says which of them are over
        return [_fired(seen[one.firing_id]) if one.firing_id in seen else one for one in fired]

    async def runs(
        self,
        job: str | None = None,
        *,
        state: str | Sequence[str] | None = None,
        since: datetime | None = None,
        after: UUID | None = None,
        limit: int = 50,
    ) -> list[Run]:
        """Return runs, newest first; ``after`` is the id of the last one of the page before.

        Raises:
            CallerError: a state that there is not, or a time without offset.
        """
        which = reading.RunFilter(job, _states(state), _aware(since), after, limit)
        return [Run.of(row) for row in await reading.list_runs(self._store, self._tenant, which)]

    async def run(self, run_id: UUID | str) -> Run:
        """Return a run with its attempts.

        Raises:
            NotFoundError: there is none.
        """
        row = await reading.get_run(self._store, self._tenant, _id(run_id))
        return Run.of(row | {"attempts": tuple(map(Attempt.of, row["attempts"]))})

    async def cancel(self, run_id: UUID | str, *, reason: str = "cancelled by a program") -> bool:
        """Cancel a run. True: it is over now; False: its executor was asked to stop it.

        Raises:
            NotFoundError: there is no such run.
            ConflictError: it is over already.
        """
        state = await control.cancel_run(self._store, self._tenant, _id(run_id), reason=reason)
        return state is RunState.CANCELLED

    async def cancel_all(
        self,
        job: str | None = None,
        *,
        flow: UUID | str | None = None,
        state: str | Sequence[str] | None = None,
        since: datetime | None = None,
        reason: str = "cancelled by a program",
    ) -> int:
        """Cancel every run that is not over and is as said; without a word, every one. Returns how many.

        ``flow`` is the ``flow_id`` of a run. Those that run are over when their executors have stopped them.

        Raises:
            CallerError: a state that there is not, or a time without offset.
        """
        which = CancelFilter(job, None if flow is None else _id(flow), _states(state), None, _aware(since))
        runs = await list_cancellable(self._store, self._tenant, which)
        done = await cancel_runs(self._store, self._tenant, runs, reason=reason)
        return done.cancelled + done.asked

    async def retry(
        self,
        run_id: UUID | str,
        params: Mapping[str, Any] | None = None,
        *,
        wait: bool = False,
        timeout: Span | None = None,
    ) -> Fired:
        """Run an ended run again, with its params under ``params``, as a new run. Otherwise as ``trigger``.

        Raises:
            NotFoundError: there is no such run.
            ConflictError: it is not over, was retried or discarded already, or its job is deleted.
            CallerError: the params are not a JSON object.
        """
        checked = _checked(params)
        asked = await control.retry_run(self._store, self._tenant, _id(run_id), params=checked, clock=self._clock)
        fired = Fired(firing_id=asked.firing_id, job=asked.job)
        return (await self.wait([fired], timeout=timeout))[0] if wait else fired

    async def logs(self, run_id: UUID | str, *, attempt: int | None = None) -> list[Log]:
        """Return what each ended attempt of a run wrote.

        Raises:
            NotFoundError: there is no such run.
        """
        rows = await reading.list_outputs(self._store, self._tenant, _id(run_id), attempt=attempt)
        return [Log.of(row) for row in rows]

    async def pause(self, job: str, *, note: str | None = None) -> bool:
        """Plan nothing of a job until it is resumed; False: it was paused already.

        Raises:
            NotFoundError: there is no such job.
        """
        return await control.pause_job(self._store, self._tenant, job, note=note, clock=self._clock)

    async def resume(self, job: str) -> bool:
        """Plan a job again; False: it was not paused.

        Raises:
            NotFoundError: there is no such job.
        """
        return await control.resume_job(self._store, self._tenant, job, clock=self._clock)

    @property
    def _tenant(self) -> str:
        return self._settings.tenant

    @property
    def _store(self) -> Store:
        if self._opened is None:
            raise RuntimeError("the client is not open: use it in a with block")
        return self._opened


def _fired(row: reading.Row) -> Fired:
    told = {"firing_id": row["id"], "reason": row["run_reason"] or row["reason"], "over": is_over(row)}
    return Fired.of(row | told)


def _id(given: UUID | str) -> UUID:
    try:
        return given if isinstance(given, UUID) else UUID(given)
    except ValueError:
        raise NotFoundError(f"{given!r} is no id of a run") from None


def _states(given: str | Sequence[str] | None) -> Sequence[str] | None:
    states = [given] if isinstance(given, str) else given
    if unknown := [name for name in states or () if name not in set(RunState)]:
        raise CallerError(f"{unknown[0]!r} is no state; there are {', '.join(RunState)}")
    return states


def _aware(since: datetime | None) -> datetime | None:
    if since is not None and since.tzinfo is None:
        raise CallerError("since needs a time zone")
    return since


def _seconds(span: Span | None) -> float | None:
    if isinstance(span, str):
        try:
            span = parse_duration(span)
        except ValueError as error:
            raise CallerError(str(error)) from None
    return span / timedelta(seconds=1) if isinstance(span, timedelta) else span


def _checked(params: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Return ``params`` as the plain JSON that can be stored."""
    if params is None:
        return None
    try:
        text = json.dumps(dict(params), allow_nan=False)
        json.dumps(dict(params), ensure_ascii=False).encode()  # half a surrogate pair is no character
    except (TypeError, ValueError, RecursionError) as error:
        raise CallerError(f"params are not a JSON object: {error}") from None
    if "\\u0000" in text:
        raise CallerError("params must not contain the NUL character")
    plain: dict[str, Any] = json.loads(text)
    return plain
