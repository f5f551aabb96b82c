"""The strictest place for a job: closed in by bubblewrap (``bwrap``), with namespaces of its own.

A job in it sees the system's programs and libraries, the code directory, all read-only, its own
directory and a private ``/tmp``. It has no network unless it asks for that of the host, sees no
process but its own, and can make no further namespaces.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Literal

from scheduler.sandbox.children import ChildOrder
from scheduler.sandbox.process_tree import hand_on_no_capability

PROGRAM: Final = "bwrap"
INSTALL: Final = "install bubblewrap"
SPARE_PIDS: Final = 2
"""Of each job two processes are bubblewrap's own."""
_TMP: Final = ".scheduler-tmp"
_PACKAGE_ROOT: Final = Path(__file__).resolve().parents[2]
_SYSTEM: Final = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")
_SETTINGS: Final = (
    "alternatives", "ca-certificates", "group", "hosts", "ld.so.cache", "ld.so.conf", "ld.so.conf.d", "localtime",
    "mime.types", "nsswitch.conf", "passwd", "pki/ca-trust", "pki/tls/certs", "protocols", "resolv.conf", "services",
    "ssl/certs", "ssl/openssl.cnf", "timezone",
)  # fmt: skip
"""Of /etc, what programs need and holds no secret."""
_SHARED_BYTES: Final = 64 * 1024 * 1024
_PROBE_S: Final = 10.0
_CLOSED: Final = ("--unshare-user", "--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try")
_NO_FURTHER: Final = "--disable-userns"


@dataclass(frozen=True, slots=True)
class Opened:
    """What an operator opens beside the usual: paths to read, paths to write; and what is hidden below any of them."""

    read: tuple[Path, ...] = ()
    write: tuple[Path, ...] = ()
    hide: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True)
class Bubblewrap:
    """A bubblewrap that works here."""

    program: str
    options: tuple[str, ...]
    opened: Opened

    def enclose(
        self, what: ChildOrder, code_dir: Path, attempt_dir: Path, network: Literal["none", "host"]
    ) -> ChildOrder:
        """Return ``what`` closed in, for a fresh child. Makes its ``/tmp`` in the attempt's directory."""
        tmp = attempt_dir / _TMP
        tmp.mkdir(mode=0o700)
        python = _python() if what.wants_result or what.argv[0] == sys.executable else ()
        read = _outermost([code_dir, *python, *self.opened.read])
        hidden = _seen_through(self.opened.hide, [*read, *self.opened.write])
        argv = (
            self.program,
            *self.options,
            *(() if network == "host" else ("--unshare-net",)),
            *_bound("--bind", [tmp], at="/tmp"),  # noqa: S108 - the sandbox's own
            *_bound("--ro-bind-try", read),
            *_bound("--bind-try", self.opened.write),
            *_hidden(hidden),
            *_bound("--bind", [attempt_dir]),
            *(word for path in hidden if path.is_dir() for word in ("--remount-ro", str(path))),
            *("--remount-ro", "/", "--chdir", what.cwd, "--", *what.argv),
        )
        env = {**what.env, "HOME": str(attempt_dir)}
        limits = what.limits
        if limits is not None and limits["pids"]:
            limits = {**limits, "pids": limits["pids"] + SPARE_PIDS}
        return replace(what, argv=argv, env=env, cwd="/", limits=limits, key=None, enclosed=True)


def find_bubblewrap(opened: Opened) -> Bubblewrap | str:
    """Return a bubblewrap that closes a job in, or why there is none. Tries it: call it in a thread."""
    program = shutil.which(PROGRAM, path=os.environ.get("PATH", os.defpath))
    if program is None:
        return f"{PROGRAM} is not installed"
    system = tuple(_system())
    why = ""
    for closed in ((*_CLOSED, _NO_FURTHER), _CLOSED):  # an older one does not know the last
        options = ("--die-with-parent", *closed, *system)
        why = _try([program, *options, "--unshare-net", "--remount-ro", "/", "--", "true"])
        if not why:
            return Bubblewrap(program, options, opened)
    return f"{PROGRAM} does not work here: {why}"


def _try(argv: Sequence[str]) -> str:
    """Return what is wrong; nothing when all is well."""
    with ThreadPoolExecutor(1, initializer=hand_on_no_capability) as alone:  # as in a warden, and of this thread only
        ran = alone.submit(
            subprocess.run,
            argv,
            env={"PATH": os.defpath},
            cwd="/",
            capture_output=True,
            check=False,
            timeout=_PROBE_S,
        )
    try:
        tried = ran.result()
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    if tried.returncode == 0:
        return ""
    words = tried.stderr.decode("utf-8", "replace").strip().splitlines()
    return words[-1] if words else f"exit code {tried.returncode}"


def _system() -> Iterator[str]:
    yield from ("--ro-bind", "/usr", "/usr")
    for name in _SYSTEM:
        path = Path("/", name)
        if path.is_symlink():
            yield from ("--symlink", str(path.readlink()), str(path))
        elif path.is_dir():
            yield from ("--ro-bind", str(path), str(path))
    for name in _SETTINGS:
        yield from ("--ro-bind-try", f"/etc/{name}", f"/etc/{name}")
    yield from ("--proc", "/proc", "--dev", "/dev")
    yield from ("--size", str(_SHARED_BYTES), "--perms", "1777", "--tmpfs", "/dev/shm", "--remount-ro", "/dev")  # noqa: S108


def _python() -> tuple[Path, ...]:
    """Return where this Python and our own packages are."""
    own = tuple(_PACKAGE_ROOT / name for name in ("scheduler", "schemas"))
    return (Path(sys.prefix), Path(sys.base_prefix), *own)


def _outermost(paths: Iterable[Path]) -> list[Path]:
    """Return the paths that are not below another one, nor in what every sandbox has."""
    found: list[Path] = []
    for path in sorted({path.absolute() for path in paths}, key=lambda path: len(path.parts)):
        if (
            path != Path("/")
            and not path.is_relative_to("/usr")
            and not any(path.is_relative_to(outer) for outer in found)
        ):
            found.append(path)
    return found


def _bound(option: str, paths: Iterable[Path], at: str | None = None) -> Iterator[str]:
    for path in paths:
        yield from (option, str(path), str(path) if at is None else at)


def _seen_through(hide: Iterable[Path], bound: Iterable[Path]) -> list[Path]:
    """Return what of ``hide`` is there, below one of the paths that are bound."""
    outer = [path.resolve() for path in bound]
    return [
        path
        for path in (path.resolve() for path in hide)
        if path.exists() and any(path.is_relative_to(folder) for folder in outer)
    ]


def _hidden(paths: Iterable[Path]) -> Iterator[str]:
    for path in paths:
        yield from ("--tmpfs", str(path)) if path.is_dir() else ("--ro-bind", "/dev/null", str(path))
