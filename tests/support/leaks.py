"""What a test may not leave behind: asyncio tasks and child processes."""

import asyncio
import os
import time
from collections.abc import Iterable
from pathlib import Path

from tests.support.cli import Cli
from tests.support.services import SESSION_PIDS

_LOOP_TURNS = 20
_CHILD_GRACE_S = 2.0


def children() -> set[int]:
    """Return the ids of this process's children, without those that belong to the session, and of what Cli began."""
    Cli.begun[:] = [begun for begun in Cli.begun if begun.poll() is None]
    found = {begun.pid for begun in Cli.begun}
    for listing in Path("/proc/self/task").glob("*/children"):
        try:
            found.update(map(int, listing.read_text().split()))
        except OSError:  # the thread ended meanwhile
            continue
    return found - SESSION_PIDS


def left_children(before: Iterable[int]) -> list[str]:
    """Return the command lines of children that were not there ``before``; ended ones are waited for a little."""
    deadline = time.monotonic() + _CHILD_GRACE_S
    while True:
        left = children() - set(before)
        if not left or time.monotonic() > deadline:
            return [f"{pid} {_command(pid)}" for pid in sorted(left)]
        time.sleep(0.01)


async def left_tasks() -> list[str]:
    """Return the tasks of this loop that do not end by themselves within a few turns."""
    for _ in range(_LOOP_TURNS):
        others = asyncio.all_tasks() - {asyncio.current_task()}
        if not others:
            return []
        await asyncio.sleep(0)
    return sorted(repr(task) for task in others)


def _command(pid: int) -> str:
    try:
        text = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
        return text or f"(ended, not waited for: {os.waitpid(pid, os.WNOHANG)})"
    except OSError:
        return "?"
