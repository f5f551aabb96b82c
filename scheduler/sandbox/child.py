"""The main program of a python child: calls one function and hands its result back.

Words come as JSON on standard input, the report goes as JSON to descriptor 3. SIGTERM cancels an
async function (CancelledError) and raises SystemExit in a sync one, so that ``finally`` blocks run.
asyncio is imported only when it is needed: it takes longer than all the rest of the start.
"""

import importlib
import importlib.machinery
import inspect
import json
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from datetime import datetime
from functools import cache, partial
from pathlib import Path
from typing import Any, NoReturn
from uuid import UUID

from scheduler.code.calling import arguments_for
from scheduler.errors import ConfigurationError
from scheduler.sandbox.failure import bases_of, raised_line, short_traceback
from scheduler.sandbox.handlers import HandlerContext, HandlerRegistry, SnoozedError
from scheduler.sandbox.results import PROGRESS_BYTES, RESULT_FD, UnusableResultError, progress_line, result_of
from scheduler.sandbox.reuse import Reuse
from scheduler.voice import Told

ASKED_TO_STOP = 128 + signal.SIGTERM


def main() -> NoReturn:
    """Run the words on standard input; exit 0 after a return, 1 after an exception.

    A process that was told so stays for further runs after one that returned and left nothing
    behind. It ends by itself when its warden lets go of it.
    """
    words = _read_words()
    reuse: Reuse | None = None
    if words["keep_below"] is not None:
        reuse = Reuse(Path(words["code_dir"]))
    while True:
        os.set_inheritable(RESULT_FD, False)
        signal.signal(signal.SIGTERM, _stop)
        code = _run(words, reuse)
        if code not in {0, None} or reuse is None or _stop.asked or not reuse.is_wanted(words["keep_below"]):
            sys.exit(code)
        reuse.wait()
        words = _read_words()


def _read_words() -> dict[str, Any]:
    with open(0, "rb", closefd=False) as stdin:
        words: dict[str, Any] = json.load(stdin)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    return words


def _run(words: dict[str, Any], reuse: Reuse | None) -> Any:
    """Call the function, hand in the report, and return the exit code."""
    report: dict[str, Any] = {}
    code: Any = 0
    context = _context(words)
    try:
        report = _report(_call(words, context, reuse))
    except SnoozedError as error:
        report = {"snooze_s": error.seconds, "reason": error.reason or None}
    except SystemExit as error:
        code = error.code
        report = {} if code in (0, None) else {"exception": "SystemExit", "reason": f"SystemExit: {code}"}
    except ConfigurationError as error:
        code = 1
        report = {"exception": "ConfigurationError", "reason": str(error)}
    except BaseException as error:  # noqa: BLE001 - whatever a job raises is its end, and is told
        code = ASKED_TO_STOP if _stop.asked else 1
        report = {"exception": type(error).__name__, "bases": bases_of(error), "reason": raised_line(error)}
        print(short_traceback(error), file=sys.stderr, end="")  # noqa: T201 - the job's output
    if context.metrics is not None:
        report["metrics"] = context.metrics
    os.pwrite(RESULT_FD, json.dumps(report).encode(), PROGRESS_BYTES)
    return code


class _Stop:
    """The handler of SIGTERM."""

    def __init__(self) -> None:
        self.asked = False
        self.cancel: Callable[[], object] | None = None
        """How to cancel the function that runs now; None for a sync one."""

    def __call__(self, *_: object) -> None:
        self.asked = True
        if self.cancel is None:
            raise SystemExit(ASKED_TO_STOP)
        self.cancel()


_stop = _Stop()


def _call(words: dict[str, Any], context: HandlerContext, reuse: Reuse | None) -> object:
    params = words["params"]
    function = _function(words["handler"], words["target"], Path(words["code_dir"]), tuple(words["modules"]))
    if reuse is not None:
        reuse.begin()
    if words["handler"] is not None:
        value = function(context, params)
    else:
        value = function(**arguments_for(function, params, context))
    return _awaited(value) if inspect.isawaitable(value) else value


@cache
def _function(handler: str | None, target: str, code_dir: Path, modules: tuple[str, ...]) -> Callable[..., Any]:
    if handler is None:
        return find_function(target, code_dir)
    registry = HandlerRegistry(code_dir)
    registry.load(modules)
    found = registry.find(handler)
    if found is None:
        raise ConfigurationError(f"there is no handler {handler}")
    return found.function


def _awaited(value: Awaitable[object]) -> object:
    import asyncio

    async def cancellable() -> object:
        task, loop = asyncio.current_task(), asyncio.get_running_loop()
        if task is not None:
            _stop.cancel = partial(loop.call_soon_threadsafe, task.cancel)
        try:
            return await value
        finally:
            _stop.cancel = None

    return asyncio.run(cancellable())


def find_function(target: str, code_dir: Path) -> Callable[..., Any]:
    """Return the function named ``module:function`` from a module below ``code_dir``.

    Raises:
        ConfigurationError: the name is malformed, or there is no such module or function there.
    """
    module_name, _, function_name = target.partition(":")
    names = [*module_name.split("."), *function_name.split(".")]
    if not all(name.isidentifier() for name in names):
        raise ConfigurationError(f"{target!r} is not of the form module:function")
    sys.path.insert(0, str(code_dir))
    top = importlib.machinery.PathFinder.find_spec(names[0], [str(code_dir)])
    if top is None:
        raise ConfigurationError(f"there is no module {module_name} below the code directory {code_dir}")
    sys.modules.pop(names[0], None)  # a module of this program with the same name must not stand in for it
    found: Any = importlib.import_module(module_name)
    for name in function_name.split("."):
        found = getattr(found, name, None)
    if not callable(found):
        raise ConfigurationError(f"module {module_name} has no function {function_name}")
    function: Callable[..., Any] = found
    return function


def _report(value: object) -> dict[str, Any]:
    try:
        return {"result": result_of(value)}
    except UnusableResultError as error:
        return {"reason": f"result dropped: {error}"}


def _context(words: dict[str, Any]) -> HandlerContext:
    facts = words["context"]
    fired_at = facts["fired_at"]
    return HandlerContext(
        tenant=facts["tenant"],
        job=facts["job"],
        run_id=UUID(facts["run_id"]),
        attempt=facts["attempt"],
        fence=UUID(facts["fence"]),
        flow_id=UUID(facts["flow_id"]),
        fired_at=None if fired_at is None else datetime.fromisoformat(fired_at),
        results=facts["results"],
        write=lambda text: print(text, flush=True),  # noqa: T201 - the job's output
        secrets={name: os.environ[name] for name in words["secrets"]},
        tell=_tell,
    )


def _tell(told: Told) -> None:
    os.pwrite(RESULT_FD, progress_line(told), 0)
