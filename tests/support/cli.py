"""The command line as processes, for tests that use it as a person or a script does."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar

from tests.support.forked import Forked
from tests.support.services import free_port

ROOT = Path(__file__).parents[2]
COMMAND = (sys.executable, "-c", "from scheduler.cli.main import main; main()")
_TIED = "from scheduler.sandbox.process_tree import die_with_parent; die_with_parent()"
DEADLINE_S = 90.0


class Cli:
    """Runs commands in a folder of their own, with nothing of this machine's settings."""

    begun: ClassVar[list[Forked]] = []
    """What was begun, and may run still."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        self.environment = kept | {"PYTHONPATH": str(ROOT), "SCHEDULER_DATA_DIR": str(folder / "state")}

    def __call__(self, *arguments: str, code: int = 0) -> str:
        """Run to the end, expect ``code``, and return what was printed: the errors when it is not 0."""
        with TemporaryDirectory() as apart:
            output, errors = Path(apart, "output"), Path(apart, "errors")
            ended = Forked(arguments, env=self.environment, cwd=self.folder, output=output, errors=errors)
            try:
                found = ended.wait(DEADLINE_S)
            finally:
                ended.kill()
            said, complained = output.read_text(), errors.read_text()
        assert found == code, (arguments, found, said, complained)
        return said or complained

    def json(self, *arguments: str, code: int = 0) -> Any:
        return json.loads(self(*arguments, "--json", code=code))

    def begin(self, *arguments: str) -> Forked:
        """Start what runs until it is told to end; it cannot outlive pytest. What it says is in a file ``.log``."""
        log = self._log(arguments)
        log.write_bytes(b"")
        begun = Forked(arguments, env=self.environment, cwd=self.folder, output=log)
        self.begun.append(begun)
        return begun

    def begin_anew(self, *arguments: str) -> "subprocess.Popen[bytes]":
        """Start it as a program, not a fork: the kernel shows its environment. It ends with the thread that made it."""
        python, option, program = COMMAND
        with self._log(arguments).open("w") as log:
            return subprocess.Popen(
                [python, option, f"{_TIED}; {program}", *arguments],
                cwd=self.folder,
                env=self.environment,
                stdout=log,
                stderr=log,
            )

    def _log(self, arguments: Sequence[str]) -> Path:
        return self.folder / f"{'-'.join(arguments[:2])}.log"


def until(holds: Callable[[], Any], what: str) -> Any:
    """Return what ``holds`` returns as soon as it is true. What is waited for gets half of the time: asking costs."""
    asked = time.monotonic()
    deadline = asked + DEADLINE_S
    while not (found := holds()):
        answered = time.monotonic()
        assert answered < deadline, f"{what} did not come true"
        time.sleep(max(0.05, answered - asked))
        asked = time.monotonic()
    return found


def status(port: int, path: str) -> int:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


def end(process: "Forked | subprocess.Popen[bytes]", number: int = signal.SIGTERM) -> int:
    process.send_signal(number)
    return process.wait(DEADLINE_S)


@contextlib.contextmanager
def running_up(folder: Path, jobs: str) -> Iterator[Cli]:
    """Lend commands in ``folder``, where a `scheduler up` with ``jobs`` runs; they find its data by themselves."""
    cli = Cli(folder)
    (folder / "jobs.yaml").write_text(jobs)
    port = free_port()
    process = cli.begin("up", "jobs.yaml", "--port", str(port))
    until(lambda: status(port, "/readyz") == 200, "ready")
    yield cli
    assert end(process) == 0
