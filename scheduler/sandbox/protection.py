"""What an executor does to itself before it runs the first job."""

import contextlib
import fcntl
from pathlib import Path

from scheduler.sandbox.process_tree import refuse_inspection


def protect_process() -> None:
    """Close this process to its jobs: no reading of its environment or memory, no inherited descriptors.

    Jobs of the same unprivileged uid then cannot read ``/proc/<pid>/environ``; root still can, so
    an executor should not run jobs as root. Also marks every descriptor above 2 close-on-exec.
    """
    for entry in Path("/proc/self/fd").iterdir():
        if int(entry.name) > 2:  # noqa: PLR2004 - standard error
            with contextlib.suppress(OSError):  # the listing's own descriptor is gone by now
                flags = fcntl.fcntl(int(entry.name), fcntl.F_GETFD)
                fcntl.fcntl(int(entry.name), fcntl.F_SETFD, flags | fcntl.FD_CLOEXEC)
    refuse_inspection()
