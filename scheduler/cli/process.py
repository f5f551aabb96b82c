"""From settings to a process that serves: logging, metrics, probe address, clock and randomness."""

import random
from collections.abc import Mapping
from operator import attrgetter
from typing import TYPE_CHECKING, Final

from scheduler import tracing
from scheduler.clock import SystemClock
from scheduler.config import Loaded, knobs
from scheduler.hosting import ProbeAddress
from scheduler.logs import configure
from scheduler.metrics import Metrics

if TYPE_CHECKING:
    from scheduler.config import Settings

PORTS: Final[Mapping[str, int]] = {
    "up": 8080,
    "ticker": 8081,
    "dispatcher": 8082,
    "executor": 8083,
    "recorder": 8084,
    "ingress": 8085,
    "watcher": 8086,
}


class Process:
    """What a serving command begins with."""

    def __init__(self, name: str, loaded: Loaded) -> None:
        self.name = name
        self.settings = loaded.settings
        self.clock = SystemClock()
        self.rng = random.Random()  # noqa: S311 - jitter, no secrets
        self.metrics = Metrics(name)
        configure(
            self.clock,
            level=self.settings.log_level,
            log_format=self.settings.log_format,
            secrets=_secrets(self.settings),
            each_run=self.settings.log_runs == "each",
            on_line=self.metrics.count_line,
        )
        if self.settings.tracing:
            tracing.start(name)

    @property
    def probe_address(self) -> ProbeAddress:
        """The port asked for, or the actor's own if it is free."""
        port, token = self.settings.probe_port, self.settings.probe_token
        return ProbeAddress(
            self.settings.probe_host,
            PORTS[self.name] if port is None else port,
            or_any=port is None,
            token=None if token is None else token.get_secret_value(),
        )


def _secrets(settings: "Settings") -> list[str]:
    values = (attrgetter(knob.name)(settings) for knob in knobs() if knob.secret)
    return [value.get_secret_value() for value in values if value is not None]
