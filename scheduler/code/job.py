"""``@job``: makes a function the work of a job. The function stays as it is and can be called by hand."""

import functools
import inspect
import re
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, ParamSpec, TypeVar, Unpack, cast, overload

from scheduler.code.calling import arguments_for
from scheduler.code.words import FileKeys, JobKeys, Trigger

P = ParamSpec("P")
R = TypeVar("R")

ADAPTER = "__scheduler_adapter__"
"""On the function of a job that runs in the executor itself: the handler that calls it."""
HANDLER_NAMES = "__scheduler_handlers__"
"""On a handler: the names it is registered under."""
_MARK = "__scheduler_job__"
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
_IN_THE_EXECUTOR = frozenset({"inline", "thread"})


class JobMark(NamedTuple):
    """What the decorator knows of a job."""

    name: str
    function: Callable[..., Any]
    triggers: tuple[Trigger, ...]
    keys: JobKeys

    @property
    def line(self) -> int:
        """Where the function stands in its file."""
        return self.function.__code__.co_firstlineno

    @property
    def in_the_executor(self) -> bool:
        """Whether it runs there as a handler; else in a process of its own."""
        return self.keys.get("isolation") in _IN_THE_EXECUTOR


@overload
def job(function: Callable[P, R], /) -> Callable[P, R]: ...


@overload
def job(
    *triggers: Trigger, name: str | None = None, **keys: Unpack[JobKeys]
) -> Callable[[Callable[P, R]], Callable[P, R]]: ...


def job(*given: Any, name: str | None = None, **keys: Any) -> Any:
    """Make a function, async or sync, the work of a job: ``@job(every("5m"), retry=Retry(attempts=3))``.

    The job is called ``name``, else as the function; its description is the first line of the
    docstring. The function gets the params by name; a parameter called ``params`` gets all of them,
    one called ``ctx`` the HandlerContext. What it returns, small JSON, is the run's result. It runs
    in a process of its own, unless ``isolation`` says inline or thread.

    Nothing is registered or started: ``scheduler up FILE.py`` and ``apply`` read the jobs of a module.

    Raises:
        TypeError: what is decorated is not a function at the top of a module or class.
        ValueError: the name is not of the form ``[a-z0-9][a-z0-9_-]{0,62}``.
    """
    if len(given) == 1 and not keys and name is None and callable(given[0]):
        return _marked(given[0], None, (), {})
    for trigger in given:
        if not isinstance(trigger, dict):
            raise TypeError(f"@job takes triggers, as in @job(every('5m')), not {trigger!r}")

    def mark(function: Callable[P, R]) -> Callable[P, R]:
        return _marked(function, name, given, cast("JobKeys", keys))

    return mark


def find_mark(value: object) -> JobMark | None:
    """Return what ``@job`` knows of a function; None if it was not decorated so."""
    mark = getattr(value, _MARK, None)
    return mark if isinstance(mark, JobMark) and mark.function is value else None


def jobs_among(values: Iterable[object]) -> list[JobMark]:
    """Return the jobs among ``values``, each once, in their order."""
    marks = {id(mark.function): mark for mark in map(find_mark, values) if mark is not None}
    return list(marks.values())


class FileHead(NamedTuple):
    """What stands beside the jobs of a module."""

    keys: FileKeys


def file_keys(**keys: Unpack[FileKeys]) -> FileHead:
    """Say for a module what stands beside the jobs of a file; assign it to any name at the top.

    ``head = file_keys(source="reports", defaults={"timezone": "Asia/Tokyo"})``
    """
    return FileHead(keys)


def _marked(function: Callable[P, R], name: str | None, triggers: tuple[Trigger, ...], keys: JobKeys) -> Callable[P, R]:
    if not inspect.isfunction(function) or inspect.isgeneratorfunction(function):
        raise TypeError(f"@job needs a function or an async function, not {function!r}")
    where = f"{function.__module__}.{function.__qualname__}"
    if inspect.isasyncgenfunction(function) or "<locals>" in function.__qualname__:
        what = "is inside another function: its process could not find it" if "<" in where else "is a generator"
        raise TypeError(f"@job: {where} {what}")
    if find_mark(function) is not None:
        raise TypeError(f"@job: {where} is a job already")
    name = function.__name__ if name is None else name
    if not _NAME.fullmatch(name):
        raise ValueError(f"@job: {name!r} cannot be the name of a job: [a-z0-9][a-z0-9_-]{{0,62}}; give name=")
    mark = JobMark(name, function, triggers, keys)
    setattr(function, _MARK, mark)
    if mark.in_the_executor:
        setattr(function, ADAPTER, _adapter(mark))
    return function


def _adapter(mark: JobMark) -> Callable[..., Any]:
    """Return the handler, called with (ctx, params), that calls the job's function."""
    function = mark.function
    call: Callable[..., Any]
    if inspect.iscoroutinefunction(function):

        async def call(ctx: Any, params: dict[str, Any]) -> Any:
            return await function(**arguments_for(function, params, ctx))

    else:

        def call(ctx: Any, params: dict[str, Any]) -> Any:
            return function(**arguments_for(function, params, ctx))

    functools.update_wrapper(call, function)
    setattr(call, HANDLER_NAMES, (mark.name,))
    return call
