"""Handlers: functions of a user's module that run inside the executor. Imported by users as ``scheduler.handlers``.

Only the standard library is imported here, so that a python child starts fast.
"""

import inspect
import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, NoReturn, TypeVar
from uuid import UUID

from scheduler.code.importing import import_below
from scheduler.code.job import ADAPTER, HANDLER_NAMES
from scheduler.errors import ConfigurationError
from scheduler.sandbox.results import MOST_METRICS, is_metric
from scheduler.voice import Told, told_of

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
Function = TypeVar("Function", bound=Callable[..., Any])


class SnoozedError(Exception):
    """What ``ctx.snooze`` raises to end the attempt; let it pass."""

    def __init__(self, seconds: float, reason: str) -> None:
        super().__init__(reason)
        self.seconds = seconds
        self.reason = reason


@dataclass(slots=True)
class HandlerContext:
    """What a handler may know about its run.

    ``fence`` is the attempt's lease token: hand it to systems that must refuse words of an older
    attempt. ``results`` holds the results of the upstream runs by job name.
    """

    tenant: str
    job: str
    run_id: UUID
    attempt: int
    fence: UUID
    flow_id: UUID
    fired_at: datetime | None
    results: Mapping[str, Any]
    write: Callable[[str], None]
    secrets: Mapping[str, str] = field(default_factory=dict)
    stop_requested: bool = False
    """Somebody wants this run to stop. A sync handler looks here now and then; an async one gets CancelledError."""

    metrics: dict[str, float] | None = None
    """What was given to ``metric``; None: nothing."""
    tell: Callable[[Told], None] | None = None
    """Who hears of progress; None: nobody."""

    def progress(self, done: float, total: float | None = None, message: str = "") -> None:
        """Say how far the run is: ``done`` of ``total``, and a few words; shown while it runs, kept with the attempt.

        Call it as often as you like: it costs microseconds, the last one counts, and about one a second is sent.

        Raises:
            ValueError: an amount is negative or not a finite number, or ``message`` is not text.
        """
        told = told_of((done, total, message))
        if told is None:
            raise ValueError(f"no progress: {done!r} of {total!r}, {message!r}; amounts are numbers from 0 on")
        if self.tell is not None:
            self.tell(told)

    def metric(self, name: str, value: float) -> None:
        """Store a number with this attempt, for ``run show``; a later value of the same name takes its place.

        Raises:
            ValueError: the name is not of the form ``[a-z][a-z0-9_]{0,62}``, the value not a finite number,
                or there are 50 names already.
        """
        self.metrics = {} if self.metrics is None else self.metrics
        if not is_metric(name, value) or (name not in self.metrics and len(self.metrics) == MOST_METRICS):
            raise ValueError(f"no metric: {name!r} = {value!r}; names are a-z, 0-9 and _, at most {MOST_METRICS}")
        self.metrics[name] = float(value)

    def log(self, text: str) -> None:
        """Add a line to the run's output (bounded: the first 16 and the last 48 KiB are kept)."""
        self.write(text)

    def snooze(self, seconds: float, reason: str = "") -> NoReturn:
        """End this attempt and have the run tried again after ``seconds`` (1 s to 7 days), at no cost of attempts.

        Raises:
            SnoozedError: always; that is how the attempt ends.
            ValueError: ``seconds`` is negative or no number.
        """
        if not 0 <= seconds < math.inf:
            raise ValueError(f"snooze: {seconds} is no number of seconds")
        raise SnoozedError(float(seconds), reason)


@dataclass(frozen=True, slots=True)
class Handler:
    name: str
    function: Callable[[HandlerContext, dict[str, Any]], Any]
    is_async: bool

    @property
    def where(self) -> str:
        """File and line of its definition."""
        code = inspect.unwrap(self.function).__code__
        return f"{code.co_filename}:{code.co_firstlineno}"


def handler(name: str) -> Callable[[Function], Function]:
    """Register a function ``(ctx, params)``, async or sync, under ``name`` for jobs with ``run: {handler: name}``.

    Async handlers share one loop, which must not be blocked; sync handlers run in threads. A
    thread cannot be killed: a sync handler over its hard timeout is recorded as timed out and
    left to itself, unless the job says ``isolation: process``. A crash of the interpreter ends the
    executor and all its attempts; an attempt after a lost one has a process of its own, so it does so once.

    Raises:
        ValueError: the name is not of the form ``[a-z0-9][a-z0-9_-]{0,62}``.
        TypeError: what is decorated is not a function of two positional arguments.
    """
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} cannot be the name of a handler: [a-z0-9][a-z0-9_-]{{0,62}}")

    def register(function: Function) -> Function:
        if not inspect.isfunction(function) or inspect.isgeneratorfunction(function):
            raise TypeError(f"handler {name}: a function or an async function is needed")
        if inspect.isasyncgenfunction(function):
            raise TypeError(f"handler {name}: an async generator cannot be a handler")
        try:
            inspect.signature(function).bind(None, None)
        except TypeError:
            raise TypeError(f"handler {name}: it must take (ctx, params)") from None
        setattr(function, HANDLER_NAMES, (*getattr(function, HANDLER_NAMES, ()), name))
        return function

    return register


class HandlerRegistry:
    """The handlers of one executor, by name."""

    def __init__(self, code_dir: Path | None = None) -> None:
        self._code_dir = code_dir
        self._handlers: dict[str, Handler] = {}
        self._modules: list[str] = []

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(sorted(self._handlers))

    @property
    def modules(self) -> tuple[str, ...]:
        """What was loaded, so that a child process can load it again."""
        return tuple(self._modules)

    def find(self, name: str) -> Handler | None:
        return self._handlers.get(name)

    def load(self, modules: Iterable[str]) -> None:
        """Import modules, given by name or as a path to a ``.py`` file, and take their handlers.

        Names and relative paths are looked up below the code directory first. Blocks while it imports.

        Raises:
            ConfigurationError: not found, failed to import (with file and line), no handler in
                it, or a name registered twice (with both places).
        """
        for module in modules:
            loaded = import_below(module, self._code_dir, what="handlers")
            self.add(*vars(loaded).values(), source=module)
            self._modules.append(module)

    def add(self, *candidates: object, source: str = "") -> None:
        """Take those of ``candidates`` that are decorated with ``handler``, or with ``job`` to run in the executor.

        Raises:
            ConfigurationError: none is, or a name is taken by another function.
        """
        found = [
            Handler(name, candidate, inspect.iscoroutinefunction(candidate))
            for candidate in (getattr(value, ADAPTER, value) for value in candidates)
            if inspect.isfunction(candidate)
            for name in getattr(candidate, HANDLER_NAMES, ())
        ]
        if not found:
            raise ConfigurationError(f"{source}: there is no function decorated with @handler(...)")
        for new in found:
            old = self._handlers.setdefault(new.name, new)
            if old.function is not new.function:
                raise ConfigurationError(f"{new.where}: handler {new.name} is already registered at {old.where}")
