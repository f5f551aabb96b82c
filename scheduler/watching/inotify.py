"""inotify, as far as hints need it: which folder something happened in, not what.

The C functions are called as they are. watchfiles ends at a name that is no UTF-8 and falls silent when a folder
is deleted and made anew; watchdog takes an instance and two threads for each folder, and 128 instances
are all that a user has.
"""

import ctypes
import os
import struct
from collections.abc import Iterator
from typing import Final

IN_ATTRIB: Final = 0x4
IN_CLOSE_WRITE: Final = 0x8
IN_MOVED_FROM: Final = 0x40
IN_MOVED_TO: Final = 0x80
IN_CREATE: Final = 0x100
IN_DELETE: Final = 0x200
IN_DELETE_SELF: Final = 0x400
IN_MOVE_SELF: Final = 0x800
IN_Q_OVERFLOW: Final = 0x4000
IN_IGNORED: Final = 0x8000
IN_ONLYDIR: Final = 0x01000000
IN_DONT_FOLLOW: Final = 0x02000000

# Without IN_MODIFY: each write would be one. A file that is held open and written to is found by looking again.
_OF_INTEREST: Final = (
    *(IN_ATTRIB, IN_CLOSE_WRITE, IN_MOVED_FROM, IN_MOVED_TO, IN_CREATE, IN_DELETE, IN_DELETE_SELF, IN_MOVE_SELF),
    IN_ONLYDIR,
)
MASK: Final = sum(_OF_INTEREST)

_HEAD: Final = struct.Struct("iIII")
_READ_BYTES: Final = 64 * 1024
_libc: Final = ctypes.CDLL(None, use_errno=True)


def open_instance() -> int:
    """Return the descriptor of a new instance.

    Raises:
        OSError: EMFILE when the user has no instance left.
    """
    return _checked(_libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC), None)


def close_instance(fd: int) -> None:
    os.close(fd)


def add_watch(fd: int, folder: bytes, *, follow: bool) -> int:
    """Watch ``folder``; return the number of the watch, which a folder watched before has already.

    Raises:
        OSError: ENOSPC when the user has no watch left.
    """
    return _checked(_libc.inotify_add_watch(fd, folder, MASK | (0 if follow else IN_DONT_FOLLOW)), folder)


def remove_watch(fd: int, watch: int) -> None:
    """End a watch; one that ended by itself is no error."""
    _libc.inotify_rm_watch(fd, watch)


def read_events(fd: int) -> Iterator[tuple[int, int]]:
    """Yield watch and mask of what is there to read; the watch is -1 when the queue overflowed."""
    try:
        said = os.read(fd, _READ_BYTES)
    except BlockingIOError:
        return
    at = 0
    while at < len(said):
        watch, mask, _, length = _HEAD.unpack_from(said, at)
        yield watch, mask
        at += _HEAD.size + length


def _checked(answer: int, path: bytes | None) -> int:
    if answer < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), path)
    return answer
