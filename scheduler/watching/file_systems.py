"""What Python's os module does not tell of files: the kind of a file system, and when a file was made."""

import ctypes
import os
import struct
from typing import Final

_REMOTE: Final = {
    0x6969: "NFS",
    0x517B: "SMB",
    0xFF534D42: "CIFS",
    0xFE534D42: "SMB2",
    0x65735546: "FUSE",
    0x01021997: "9p",
    0x00C36400: "Ceph",
    0x5346414F: "AFS",
    0x73757245: "Coda",
    0x0BD00BD0: "Lustre",
    0x7461636F: "OCFS2",
    0x01161970: "GFS2",
    0x786F4256: "vboxsf",
    0xAAD7AAEA: "PanFS",
    0x47504653: "GPFS",
    0x19830326: "BeeGFS",
}
"""File systems that others change without inotify here hearing of it, by the number that statfs gives."""
_STATFS_BYTES: Final = 256
_STATX_BYTES: Final = 256
_AT_FDCWD: Final = -100
_AT_SYMLINK_NOFOLLOW: Final = 0x100
_AT_STATX_DONT_SYNC: Final = 0x4000
_STATX_BTIME: Final = 0x800
_BORN_AT: Final = 80
"""The place of the birth time in struct statx: seconds, then nanoseconds."""
_libc: Final = ctypes.CDLL(None, use_errno=True)
_statx: Final = getattr(_libc, "statx", None)


def remote_kind(path: bytes) -> str | None:
    """Return what kind of network file system ``path`` is on; None: on one of this machine. Blocks.

    Raises:
        OSError: it cannot be looked at.
    """
    answer = ctypes.create_string_buffer(_STATFS_BYTES)
    if _libc.statfs(path, answer) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), path)
    (kind,) = struct.unpack_from("l", answer)
    return _REMOTE.get(kind & 0xFFFFFFFF)


def born_ns(path: bytes, *, follow: bool) -> int:
    """Return when the file was made, in nanoseconds; 0 where the system does not say. Blocks."""
    if _statx is None:
        return 0
    answer = ctypes.create_string_buffer(_STATX_BYTES)
    flags = _AT_STATX_DONT_SYNC | (0 if follow else _AT_SYMLINK_NOFOLLOW)
    if _statx(_AT_FDCWD, path, flags, _STATX_BTIME, answer) != 0:
        return 0
    (mask,) = struct.unpack_from("I", answer)
    seconds, nanoseconds = struct.unpack_from("qI", answer, _BORN_AT)
    return int(seconds * 1_000_000_000 + nanoseconds) if mask & _STATX_BTIME else 0
