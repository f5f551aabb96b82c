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
    ``drain_timeout_s`` a draining executor kills what still runs. ``cpu`` (cores) and ``memory_bytes``
    are what its attempts may demand together, ``labels`` what jobs may demand of it.
    ``sandboxes``: it can run jobs with isolation sandbox.
    ``tenant`` is the operator's: an executor works for all tenants and speaks of itself in the name of that one.
    """

    name: str
    pool: str
    state_dir: Path
    slots: int = 5
    cpu: float = field(default_factory=lambda: float(len(os.sched_getaffinity(0))))
    memory_bytes: int = field(default_factory=lambda: os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    sandboxes: bool = False
    labels: Mapping[str, str] = field(default_factory=dict)
    lease_s: float = 30.0
    drain_timeout_s: float = 60.0
    tenant: str = "default"
    host: str = field(default_factory=socket.gethostname)
    pid: int = field(default_factory=os.getpid)
    version: str = __version__
