"""The client for programs without an event loop."""

import asyncio
import threading
from collections.abc import Coroutine, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Self, TypeVar
from uuid import UUID

from scheduler.client.answers import Fired, Log, Run
from scheduler.client.client import Client, Span

T = TypeVar("T")


class SyncClient:
    """``with SyncClient() as client``: the methods of Client, each of which blocks until it has its answer.

    Its connections live on a loop in a thread of their own, so that it may be used by several threads.
    """

    def __init__(
        self, *, database_url: str | None = None, data_dir: str | Path | None = None, tenant: str | None = None
    ) -> None:
        self._client = Client(database_url=database_url, data_dir=data_dir, tenant=tenant)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread()

    def __enter__(self) -> Self:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="scheduler-client", daemon=True)
        self._thread.start()
        try:
            self._do(self._client.__aenter__())
        except BaseException:
            self._end_loop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._do(self._client.__aexit__())
        finally:
            self._end_loop()

    def trigger(
        self,
        job: str,
        params: Mapping[str, Any] | None = None,
        *,
        wait: bool = False,
        timeout: Span | None = None,
        traceparent: str | None = None,
    ) -> Fired:
        """As ``Client.trigger``."""
        return self._do(self._client.trigger(job, params, wait=wait, timeout=timeout, traceparent=traceparent))

    def trigger_all(
        self,
        jobs: Sequence[str],
        params: Mapping[str, Any] | None = None,
        *,
        wait: bool = False,
        timeout: Span | None = None,
        traceparent: str | None = None,
    ) -> list[Fired]:
        """As ``Client.trigger_all``."""
        return self._do(self._client.trigger_all(jobs, params, wait=wait, timeout=timeout, traceparent=traceparent))

    def wait(self, fired: Sequence[Fired], *, timeout: Span | None = None) -> list[Fired]:
        """As ``Client.wait``."""
        return self._do(self._client.wait(fired, timeout=timeout))

    def runs(
        self,
        job: str | None = None,
        *,
        state: str | Sequence[str] | None = None,
        since: datetime | None = None,
        after: UUID | None = None,
        limit: int = 50,
    ) -> list[Run]:
        """As ``Client.runs``."""
        return self._do(self._client.runs(job, state=state, since=since, after=after, limit=limit))

    def run(self, run_id: UUID | str) -> Run:
        """As ``Client.run``."""
        return self._do(self._client.run(run_id))

    def cancel(self, run_id: UUID | str, *, reason: str = "cancelled by a program") -> bool:
        """As ``Client.cancel``."""
        return self._do(self._client.cancel(run_id, reason=reason))

    def cancel_all(
        self,
        job: str | None = None,
        *,
        flow: UUID | str | None = None,
        state: str | Sequence[str] | None = None,
        since: datetime | None = None,
        reason: str = "cancelled by a program",
    ) -> int:
        """As ``Client.cancel_all``."""
        return self._do(self._client.cancel_all(job, flow=flow, state=state, since=since, reason=reason))

    def retry(
        self,
        run_id: UUID | str,
        params: Mapping[str, Any] | None = None,
        *,
        wait: bool = False,
        timeout: Span | None = None,
    ) -> Fired:
        """As ``Client.retry``."""
        return self._do(self._client.retry(run_id, params, wait=wait, timeout=timeout))

    def logs(self, run_id: UUID | str, *, attempt: int | None = None) -> list[Log]:
        """As ``Client.logs``."""
        return self._do(self._client.logs(run_id, attempt=attempt))

    def pause(self, job: str, *, note: str | None = None) -> bool:
        """As ``Client.pause``."""
        return self._do(self._client.pause(job, note=note))

    def resume(self, job: str) -> bool:
        """As ``Client.resume``."""
        return self._do(self._client.resume(job))

    def _do(self, work: Coroutine[Any, Any, T]) -> T:
        if self._loop is None:
            work.close()
            raise RuntimeError("the client is not open: use it in a with block")
        answer = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return answer.result()
        except BaseException:
            answer.cancel()  # a KeyboardInterrupt here must not leave the question running there
            raise

    def _end_loop(self) -> None:
        loop, self._loop = self._loop, None
        if loop is not None:
            loop.call_soon_threadsafe(loop.stop)
            self._thread.join()
            loop.close()
