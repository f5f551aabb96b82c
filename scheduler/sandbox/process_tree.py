"""Find and kill the descendants of this process; asks Linux for orphans instead of losing them to init."""

import ctypes
import os
import signal
from contextlib import suppress

_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PR_SET_CHILD_SUBREAPER = 36
_PR_SET_NO_NEW_PRIVS = 38
_PR_CAP_AMBIENT = 47
_PR_CAP_AMBIENT_CLEAR_ALL = 4
_libc = ctypes.CDLL(None, use_errno=True)


def become_subreaper() -> None:
    """From now on a descendant whose parent died becomes a child of this process, not of init."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def die_with_parent() -> None:
    """Have the kernel SIGKILL this process when the *thread* that forked it ends; survives exec."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def refuse_inspection() -> None:
    """Keep other processes of this uid from reading this one's environment and memory (root still can)."""
    _prctl(_PR_SET_DUMPABLE, 0)


def hand_on_no_capability() -> None:
    """Let programs that this *thread* starts have no capability of its own, unless they run as root."""
    _prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL)


def hand_on_no_more_rights(*, enclosed: bool) -> None:
    """Let the program that this *thread* becomes have no more rights than its user, who has to be able to kill it.

    Setuid programs give none from then on; root has nothing to gain. Bubblewrap (``enclosed``) sees to that for its
    jobs, and refuses to have capabilities that it was not given as root.
    """
    if enclosed:
        hand_on_no_capability()
    elif os.geteuid() != 0:
        _prctl(_PR_SET_NO_NEW_PRIVS, 1)


def allow_inspection() -> None:
    """Take ``refuse_inspection`` back."""
    _prctl(_PR_SET_DUMPABLE, 1)


def descendants(root: int) -> list[int]:
    """Return the live processes below ``root`` at this moment; more may appear while it looks."""
    children: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):  # noqa: PTH208 - see _live_parent
        if entry.isdigit():
            parent = _live_parent(entry)
            if parent is not None:
                children.setdefault(parent, []).append(int(entry))
    found: list[int] = []
    frontier = [root]
    while frontier:
        below = children.get(frontier.pop(), [])
        found += below
        frontier += below
    return found


def enclosed_group(monitor: int) -> list[int]:
    """Return the process group of ``monitor``, its leader, without itself and the first process of its namespace.

    These two are bubblewrap's own, and would end the others at once.
    """
    below = descendants(monitor)[1:]  # nearest first, and the monitor has one child
    found: list[int] = []
    for pid in below:
        with suppress(OSError):
            if os.getpgid(pid) == monitor:
                found.append(pid)
    return found


def has_descendants_beside(child: int) -> bool:
    """Whether this process has any below it but ``child``, which is one of its own and must not fork meanwhile."""
    own = os.getpid()
    try:
        return _children_of(own) != [child] or bool(_children_of(child))
    except OSError:  # a kernel without these lists
        return descendants(own) != [child]


def kill_all(pids: list[int]) -> None:
    signal_all(pids, signal.SIGKILL)


def signal_all(pids: list[int], number: signal.Signals) -> None:
    for pid in pids:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


def _children_of(pid: int) -> list[int]:
    found: list[int] = []
    for thread in os.listdir(f"/proc/{pid}/task"):  # noqa: PTH208 - see _live_parent
        with open(f"/proc/{pid}/task/{thread}/children", "rb") as children:  # noqa: PTH123 - see _live_parent
            found += map(int, children.read().split())
    return found


def _live_parent(pid: str) -> int | None:
    try:
        with open(f"/proc/{pid}/stat", "rb") as stat:  # noqa: PTH123 - a path object each would double the cost
            state, parent = stat.read().rpartition(b")")[2].split()[:2]
    except OSError:
        return None
    return None if state in (b"Z", b"X") else int(parent)


def _prctl(option: int, value: int) -> None:
    if _libc.prctl(option, *map(ctypes.c_ulong, (value, 0, 0, 0))) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
