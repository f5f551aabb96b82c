"""Who an executor is and what it may do."""

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from scheduler import __version__


@dataclass(frozen=True, slots=True)
class ExecutorSettings:
    """Seconds throughout.

    ``name`` is unique among live executors: it names the control queue. ``state_dir`` belongs to
    this executor alone. ``lease_s`` only counts until the first claim is answered. After
    ``drain_timeout_s`` a draining executor kills what still runs. ``cpu`` (cores), ``memory_bytes``
    and ``disk_bytes`` are what its attempts may demand together, ``labels`` what jobs may demand of it.
    ``sandboxes``: it can run jobs with isolation sandbox.
    ``tenant`` is the operator's: an executor works for all tenants and speaks of itself in the name of that one.
    """

    name: str
    pool: str
    state_dir: Path
    slots: int = 5
    cpu: float = field(default_factory=lambda: float(len(os.sched_getaffinity(0))))
    memory_bytes: int = field(default_factory=lambda: os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    disk_bytes: int | None = None
    """None: what was free below ``state_dir`` when these settings were made."""
    io: float | None = None
    """So many attempts with ``resources`` at once, where ``io: low`` counts half and ``idle`` nothing; None: any."""
    sandboxes: bool = False
    labels: Mapping[str, str] = field(default_factory=dict)
    lease_s: float = 30.0
    drain_timeout_s: float = 60.0
    tenant: str = "default"
    host: str = field(default_factory=socket.gethostname)
    pid: int = field(default_factory=os.getpid)
    version: str = __version__

    def __post_init__(self) -> None:
        if self.disk_bytes is None:
            object.__setattr__(self, "disk_bytes", _free_bytes(self.state_dir))  # frozen, and nobody has seen it yet


def _free_bytes(folder: Path) -> int:
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize
