"""Programs of ours that begin where their modules are already loaded.

Loading them costs most of a second of CPU, and tests that kill actors start hundreds. Here a source
loads them once for each pytest process and forks: what comes of it is a process of its own, with its own
environment, folder, output, session and end, which dies with the source, and the source with pytest.

A fork belongs to the source: it is reaped when it is asked for its end, so its id is its own until then.
"""

import atexit
import gc
import importlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from scheduler.sandbox.process_tree import die_with_parent
from tests.support.services import SESSION_PIDS

_ROOT = Path(__file__).parents[2]
_LOADED = ("scheduler.cli.main", "scheduler.cli.process", "scheduler.wiring", "uvloop")
_SOURCE = "from tests.support.forked import be_source; be_source()"


class Source:
    """The process that has everything loaded, and what is asked of it, one thing at a time."""

    def __init__(self) -> None:
        # The environment of each fork is its own; this one only has to find Python's modules.
        environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(_ROOT), "LC_ALL": "C.UTF-8"}
        self._process = subprocess.Popen(
            [sys.executable, "-c", _SOURCE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            cwd="/",
            text=True,
            start_new_session=True,
        )
        self._asking = threading.Lock()
        SESSION_PIDS.add(self._process.pid)
        atexit.register(self._close)

    def ask(self, *request: Any) -> Any:
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        with self._asking:
            stdin.write(f"{json.dumps(request)}\n")
            stdin.flush()
            return json.loads(stdout.readline())

    def _close(self) -> None:
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            stream.close()
        self._process.wait(10)


class Forked:
    """``scheduler ARGUMENTS`` in a process of its own, used as ``subprocess.Popen`` is."""

    _source: Source | None = None

    def __init__(
        self, arguments: Sequence[str], *, env: Mapping[str, str], cwd: Path, output: Path, errors: Path | None = None
    ) -> None:
        """What it says is added to the file ``output``; errors to ``errors`` if that is given."""
        if Forked._source is None:
            Forked._source = Source()
        self._asked = Forked._source
        self.pid = int(self._asked.ask("start", list(arguments), dict(env), *map(str, (cwd, output, errors or output))))
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """Return its exit code, or minus the signal that ended it; None while it runs."""
        if self.returncode is None:
            self.returncode = self._asked.ask("end", self.pid)
        return self.returncode

    def wait(self, timeout: float = 60.0) -> int:
        deadline = time.monotonic() + timeout
        while (code := self.poll()) is None:
            if time.monotonic() > deadline:
                raise TimeoutError(f"process {self.pid} still runs")
            time.sleep(0.005)
        return code

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def be_source() -> None:
    """Answer requests until nobody is left to make any; return in a fork, as the program that it is to be, ended.

    Nobody is left when pytest closes its end of the pipe, which it also does by dying. The kernel's signal for
    that comes too early: it is sent when the thread ends that asked first, and tests ask from threads of a loop.
    """
    for name in _LOADED:
        importlib.import_module(name)
    _make_ready()
    for line in sys.stdin:
        verb, *words = json.loads(line)
        if verb == "end":
            pid, status = os.waitpid(words[0], os.WNOHANG)
            answer = os.waitstatus_to_exitcode(status) if pid else None
        else:
            answer = os.fork()
            if answer == 0:
                _be_program(*words)
        sys.stdout.write(f"{json.dumps(answer)}\n")
        sys.stdout.flush()


def _make_ready() -> None:
    """Make once what each program would make first, and let no fork look through it for garbage.

    That would copy most of the memory that it shares with the source.
    """
    from scheduler.cli.main import command_line

    command_line()
    gc.freeze()


def _be_program(arguments: list[str], environment: dict[str, str], folder: str, output: str, errors: str) -> None:
    from actors import base
    from scheduler import crash
    from scheduler.cli.main import main

    die_with_parent()
    os.setsid()
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    time.tzset()
    importlib.reload(crash)  # it reads the environment once, when it is imported
    base.CRASH_AT = crash.CRASH_AT
    append = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    for standard, (path, flags) in enumerate(((os.devnull, os.O_RDONLY), (output, append), (errors, append))):
        opened = os.open(path, flags, 0o666)
        os.dup2(opened, standard)
        os.close(opened)
    sys.argv = ["scheduler", *arguments]
    main(arguments)
