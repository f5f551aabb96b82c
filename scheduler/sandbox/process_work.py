"""From a work order to the child that does it: command, script, and python or handler in a child."""

import hashlib
import json
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from scheduler.domain.file_names import exact_text
from scheduler.ports import AttemptContext
from scheduler.sandbox.children import ChildOrder
from scheduler.sandbox.environment import UnusableOrderError, build_environment, run_variables
from scheduler.sandbox.left_files import PROGRESS_NAME, RESULT_NAME, SNOOZE_NAME
from scheduler.sandbox.warm import Recycling
from schemas.work import CommandWork, HandlerWork, PythonWork, ScriptWork, WorkOrder

SCRIPT_NAME = ".scheduler-script"
_PACKAGE_ROOT = str(Path(__file__).resolve().parents[2])
_CHILD = "import sys; sys.path.append(sys.argv.pop()); from scheduler.sandbox.child import main; main()"
_INTERPRETER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")
_SHEBANG_BYTES = 256


@dataclass(frozen=True, slots=True)
class Workplace:
    """Where a child finds code, and the fresh directory that is its own."""

    code_dir: Path
    attempt_dir: Path
    handler_modules: tuple[str, ...]
    recycling: Recycling


def child_order(order: WorkOrder, context: AttemptContext, secrets: Mapping[str, str], place: Workplace) -> ChildOrder:
    """Return what to start for ``order``; writes a script's text into the attempt's directory.

    Raises:
        UnusableOrderError: it cannot be started; the text says why.
        OSError: a script cannot be read or written.
    """
    environment = build_environment(order, context, secrets)
    cwd = place.attempt_dir if order.cwd is None else place.code_dir / order.cwd
    if isinstance(order.work, PythonWork | HandlerWork):
        words = _child_words(order, context, place)
        # -P: the working directory is not a place to import from; the code directory is, and comes first.
        argv: tuple[str, ...] = (sys.executable, "-P", "-X", "utf8", "-c", _CHILD, _PACKAGE_ROOT)
        what = ChildOrder(argv, environment, str(cwd), json.dumps(words).encode(), wants_result=True)
        most_runs = _most_runs(order, place)
        return what if most_runs == 1 else replace(what, key=_whose(order, context, environment), most_runs=most_runs)
    if isinstance(order.work, CommandWork):
        argv = _command(order.work, place.code_dir)
    elif isinstance(order.work, ScriptWork):
        argv = _script(order.work, place)
    else:
        raise UnusableOrderError(f"{order.work.kind} is not run in a process")
    if any("\x00" in element for element in argv):
        raise UnusableOrderError("an argument holds a NUL character")
    if order.names_as_bytes:
        argv = tuple(map(exact_text, argv))
    environment["SCHEDULER_RESULT"] = str(place.attempt_dir / RESULT_NAME)
    environment["SCHEDULER_SNOOZE"] = str(place.attempt_dir / SNOOZE_NAME)
    environment["SCHEDULER_PROGRESS"] = str(place.attempt_dir / PROGRESS_NAME)
    return ChildOrder(argv, environment, str(cwd))


def below(code_dir: Path, relative: str) -> Path:
    """Return the real path of a file below the code directory.

    Raises:
        UnusableOrderError: it is not a file, or links lead out of the directory.
    """
    path = (code_dir / relative).resolve()
    if not path.is_relative_to(code_dir.resolve()):
        raise UnusableOrderError(f"{relative} is outside the code directory")
    if not path.is_file():
        raise UnusableOrderError(f"there is no file {relative} in the code directory")
    return path


def _command(work: CommandWork, code_dir: Path) -> tuple[str, ...]:
    program = work.argv[0]
    if "/" in program and not program.startswith("/"):
        program = str(below(code_dir, program))
    return (program, *work.argv[1:])


def _script(work: ScriptWork, place: Workplace) -> tuple[str, ...]:
    if (work.file is None) == (work.text is None):
        raise UnusableOrderError("a script needs exactly one of file and text")
    if work.file is not None:
        path = below(place.code_dir, work.file)
    else:
        path = place.attempt_dir / SCRIPT_NAME
        path.write_text(work.text or "", encoding="utf-8")
        path.chmod(0o700)
    return (*_interpreter(work.interpreter, path), str(path))


def _interpreter(name: str | None, path: Path) -> tuple[str, ...]:
    if name is None:
        with path.open("rb") as file:
            first = file.read(_SHEBANG_BYTES).split(b"\n", 1)[0]
        if not first.startswith(b"#!"):
            return ("sh",)
        # As the kernel does: one program and at most one argument.
        words = first[2:].decode("utf-8", "replace").strip().split(maxsplit=1)
        return tuple(words) or ("sh",)
    if not _INTERPRETER.fullmatch(name):
        raise UnusableOrderError(f"the interpreter {name!r} is not the name of a program")
    return (sys.executable,) if name in {"python", "python3"} else (name,)


def _most_runs(order: WorkOrder, place: Workplace) -> int:
    if order.isolation == "sandbox":  # its /tmp and all else is made anew for each run
        return 1
    if order.resources is not None and order.resources.disk_bytes is not None:  # its warden knows one folder
        return 1
    return min(place.recycling.most_runs, order.max_runs_per_process or place.recycling.most_runs)


def _whose(order: WorkOrder, context: AttemptContext, environment: Mapping[str, str]) -> str:
    """Name the runs that may share a process: of one version of a job, with the same limits and environment.

    Another value of a variable is another environment, and be it that of a secret.
    """
    of_run = run_variables(order, context)
    lasting = {name: value for name, value in environment.items() if name not in of_run}
    limits = None if order.resources is None else order.resources.model_dump()
    whose = json.dumps([context.tenant, order.job, order.job_version, limits, lasting], sort_keys=True)
    return hashlib.sha256(whose.encode()).hexdigest()  # secrets are among the values


def _child_words(order: WorkOrder, context: AttemptContext, place: Workplace) -> dict[str, Any]:
    return {
        "target": order.work.target if isinstance(order.work, PythonWork) else None,
        "handler": order.work.name if isinstance(order.work, HandlerWork) else None,
        "modules": place.handler_modules,
        "code_dir": str(place.code_dir),
        "keep_below": None if _most_runs(order, place) == 1 else place.recycling.most_bytes,
        "params": order.params,
        "secrets": sorted(order.secrets),
        "context": {
            "tenant": context.tenant,
            "job": order.job,
            "run_id": str(context.run_id),
            "attempt": context.attempt,
            "fence": str(context.lease_token),
            "flow_id": str(order.flow_id),
            "fired_at": None if order.fired_at is None else order.fired_at.isoformat(),
            "results": order.results,
        },
    }
