"""How this host can hold attempts to their resource limits: found once, when a runner starts.

The strongest means first: a cgroup v2 folder that is ours to divide, writable cgroup v1
hierarchies, and where there is neither, looking at the processes five times a second.
"""

import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from scheduler.sandbox.cgroup import LEAF, remove
from scheduler.sandbox.process_tree import descendants

Kind = Literal["cgroup2", "cgroup1", "sampling"]

SELF: Final = Path("/proc/self")
CONTROLLERS: Final[tuple[str, ...]] = ("memory", "pids", "cpu")
_OWN: Final = "scheduler-executor"
"""Where an executor moves to in cgroup v2: a folder that has processes cannot hand limits on."""
_MOVES: Final = 5
_UNIT_MARK: Final = "invocation_id"
_DELEGATED_MARK: Final = "delegate"
"""Attributes by which systemd marks the folder of a unit, and one that it leaves to the unit to divide."""


@dataclass(frozen=True, slots=True)
class Means:
    """What limits are enforced with; ``folders`` are those to make leaves in, by controller."""

    kind: Kind
    folders: Mapping[str, str] = field(default_factory=dict)


SAMPLING: Final = Means("sampling")


def find_means(proc: Path = SELF) -> Means:
    """Return the strongest means that works here. Reads and makes files: call it in a thread."""
    for kind, folders in (("cgroup2", _unified(proc)), ("cgroup1", _hierarchies(proc))):
        if folders is not None and all(_can_divide(folder) for folder in set(folders.values())):
            means = Means("cgroup2" if kind == "cgroup2" else "cgroup1", folders)
            _sweep(means)
            return means
    return SAMPLING


def folder_of(proc: Path, kind: Kind, controller: str) -> Path | None:
    """Return where the cgroup of this process is seen, in version 1 that of ``controller``; None: nowhere here."""
    try:
        memberships = [line.split(":", 2) for line in (proc / "cgroup").read_text().splitlines()]
        mounts = (proc / "mountinfo").read_text()
    except OSError:
        return None
    for _, controllers, path in memberships:
        if kind == "cgroup2" and not controllers:
            return _folder(path, mounts, "cgroup2", None)
        if kind == "cgroup1" and controller in controllers.split(","):
            return _folder(path, mounts, "cgroup", controller)
    return None


def _unified(proc: Path) -> dict[str, str] | None:
    """Return our cgroup v2 folder under each controller, which it hands on from now on; None if it cannot."""
    folder = folder_of(proc, "cgroup2", "")
    if folder is None:
        return None
    if folder.name == _OWN:
        folder = folder.parent
    try:
        if _is_kept(folder) or not set(CONTROLLERS) <= set((folder / "cgroup.controllers").read_text().split()):
            return None
        control = folder / "cgroup.subtree_control"
        if not set(CONTROLLERS) <= set(control.read_text().split()):
            _move_aside(folder)
            control.write_text(" ".join(f"+{controller}" for controller in CONTROLLERS))
    except OSError:
        return None
    return dict.fromkeys(CONTROLLERS, str(folder))


def _is_kept(folder: Path) -> bool:
    """Whether the folder is that of a systemd unit without Delegate=, which root could divide nevertheless.

    Systemd takes the controllers of such a folder back when it is reloaded, and ends the unit with
    the first job that the kernel kills for its memory.
    """
    marks = {name.partition(".")[2] for name in os.listxattr(folder)}
    return _UNIT_MARK in marks and _DELEGATED_MARK not in marks


def _move_aside(folder: Path) -> None:
    """Leave ``folder``, with what we started; if anybody else is in it, who is not ours to move, do nothing."""
    for _ in range(_MOVES):  # what begins or ends meanwhile is seen at the next look
        inside = set(map(int, (folder / "cgroup.procs").read_text().split()))
        if not inside:
            return
        if inside <= {os.getpid(), *descendants(os.getpid())}:
            (folder / _OWN).mkdir(exist_ok=True)
            for pid in sorted(inside):
                with suppress(ProcessLookupError):
                    (folder / _OWN / "cgroup.procs").write_text(str(pid))


def _hierarchies(proc: Path) -> dict[str, str] | None:
    found = {name: folder_of(proc, "cgroup1", name) for name in CONTROLLERS}
    folders = {name: str(folder) for name, folder in found.items() if folder is not None}
    return folders if len(folders) == len(CONTROLLERS) else None


def _folder(path: str, mounts: str, kind: str, controller: str | None) -> Path | None:
    """Return where the cgroup ``path`` is seen; None when it is mounted nowhere here."""
    for line in mounts.splitlines():
        place, _, system = line.partition(" - ")
        root, mounted = place.split()[3:5]
        words = system.split()
        if words[0] != kind or (controller is not None and controller not in words[-1].split(",")):
            continue
        if Path(path).is_relative_to(root):
            folder = Path(mounted) / Path(path).relative_to(root)
            if folder.is_dir():
                return folder
    return None


def _can_divide(folder: str) -> bool:
    probe = Path(folder) / f"{LEAF}{os.getpid()}"
    try:
        probe.mkdir()
        probe.rmdir()
    except OSError:
        return False
    return True


def _sweep(means: Means) -> None:
    """Remove the leaves of wardens that were killed, and what they still hold, where one word does it: in version 2."""
    for folder in set(means.folders.values()):
        for leaf in Path(folder).glob(f"{LEAF}[0-9]*"):
            if not Path(f"/proc/{leaf.name.removeprefix(LEAF)}").exists():
                remove(str(leaf))
                if means.kind == "cgroup2" and leaf.exists():
                    with suppress(OSError):
                        (leaf / "cgroup.kill").write_text("1")
                    remove(str(leaf))
