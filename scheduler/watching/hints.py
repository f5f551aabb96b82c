"""Hints that something changed in a folder: one inotify instance for all folders of a process.

A hint only says that it is worth looking. One that is lost costs time: folders are looked at again anyway.
"""

import asyncio
import threading
from typing import Final

import structlog

from scheduler.watching import inotify

log: structlog.stdlib.BoundLogger = structlog.get_logger()

_GATHER_S: Final = 0.05
"""Between two reads: what happens meanwhile is read together, and what does not fit is found by looking."""


class Hints:
    """The instance, opened with the first subscription. ``trouble``: why there is none."""

    def __init__(self) -> None:
        self.trouble: str | None = None
        self._fd: int | None = None
        self._lock = threading.Lock()
        self._subscriptions: set[Subscription] = set()
        self._by_watch: dict[int, set[Subscription]] = {}

    def subscribe(self) -> "Subscription":
        """Return a subscription without folders; call it on the loop, and close it there."""
        if self._fd is None:
            self._open()
        made = Subscription(self)
        self._subscriptions.add(made)
        return made

    def add(self, subscription: "Subscription", folder: bytes, *, follow: bool) -> int | None:
        """Watch a folder for ``subscription``; may be called in a thread. None: there is no instance.

        Raises:
            OSError: it cannot be watched.
        """
        with self._lock:
            if self._fd is None or subscription not in self._subscriptions:
                return None
            watch = inotify.add_watch(self._fd, folder, follow=follow)
            self._by_watch.setdefault(watch, set()).add(subscription)
            return watch

    def drop(self, subscription: "Subscription", watches: set[int]) -> None:
        """End watches that nobody else has."""
        with self._lock:
            for watch in watches:
                holders = self._by_watch.get(watch, set())
                holders.discard(subscription)
                if not holders and self._by_watch.pop(watch, None) is not None and self._fd is not None:
                    inotify.remove_watch(self._fd, watch)

    def leave(self, subscription: "Subscription") -> None:
        with self._lock:
            self._subscriptions.discard(subscription)
        if not self._subscriptions:
            self._close()

    def _open(self) -> None:
        try:
            self._fd = inotify.open_instance()
        except OSError as error:
            self.trouble = error.strerror
            return
        self.trouble = None
        asyncio.get_running_loop().add_reader(self._fd, self._on_readable)

    def _close(self) -> None:
        with self._lock:
            fd, self._fd = self._fd, None
            self._by_watch.clear()
        if fd is not None:
            asyncio.get_running_loop().remove_reader(fd)
            inotify.close_instance(fd)

    def _on_readable(self) -> None:
        if self._fd is None:
            return
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._fd)
        loop.call_later(_GATHER_S, self._listen_again, self._fd)
        for subscription in self._heard(self._fd):
            subscription.rung.set()

    def _listen_again(self, fd: int) -> None:
        if self._fd == fd:
            asyncio.get_running_loop().add_reader(fd, self._on_readable)

    def _heard(self, fd: int) -> set["Subscription"]:
        found: set[Subscription] = set()
        with self._lock:
            for watch, mask in inotify.read_events(fd):
                if mask & inotify.IN_Q_OVERFLOW:
                    log.warning("hints.overflowed", folders=len(self._by_watch))
                    return set(self._subscriptions)
                found |= self._by_watch.get(watch, set())
                if mask & inotify.IN_IGNORED:
                    self._by_watch.pop(watch, None)
        return found


class Subscription:
    """The folders one reader wants hints of. ``rung`` is set when something happened in one of them."""

    def __init__(self, hints: Hints) -> None:
        self.rung = asyncio.Event()
        self._hints = hints
        self._watches: set[int] = set()
        self._found: set[int] = set()

    @property
    def trouble(self) -> str | None:
        """Why there is no inotify."""
        return self._hints.trouble

    def watch(self, folder: bytes, *, follow: bool = False) -> bool:
        """Watch ``folder`` from now on; may be called in a thread. False: there is no inotify.

        Raises:
            OSError: it cannot be watched.
        """
        watch = self._hints.add(self, folder, follow=follow)
        if watch is not None:
            self._found.add(watch)
        return watch is not None

    def keep_found(self, *, only: bool) -> None:
        """Keep the watches made since the last call; ``only``: and end all others."""
        if only:
            self._hints.drop(self, self._watches - self._found)
            self._watches = self._found
        else:
            self._watches |= self._found
        self._found = set()

    def close(self) -> None:
        self._hints.drop(self, self._watches | self._found)
        self._hints.leave(self)
