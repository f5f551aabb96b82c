"""The live table of ``scheduler up`` on a terminal."""

from collections import deque
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from rich import box
from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from scheduler.cli.output import STATE_STYLES, cell, zone_mark

_SHOWN: Final = 12
_STATES: Final = ("waiting", "ready", "queued", "running", "backing_off", "succeeded", "failed", "cancelled", "skipped")


class LiveRuns:
    """The latest runs of this session and how many stand in each state; log lines scroll above it."""

    def __init__(self) -> None:
        self._latest: deque[Mapping[str, Any]] = deque(maxlen=_SHOWN)
        self._live = Live(auto_refresh=False, transient=False)

    def start(self) -> None:
        self._live.start()

    def stop(self) -> None:
        self._live.stop()

    def show(self, moved: Sequence[Mapping[str, Any]], counts: Mapping[str, int]) -> None:
        """Draw again when something moved."""
        if not moved:
            return
        for run in moved:
            same = next((at for at, known in enumerate(self._latest) if known["id"] == run["id"]), None)
            if same is None:
                self._latest.append(run)
            else:
                self._latest[same] = run
        self._live.update(Group(self._table(), _summary(counts)), refresh=True)

    def _table(self) -> Table:
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, expand=True)
        zone = next((f" ({zone_mark(run['created_at'])})" for run in self._latest), "")
        for column in ("job", "state", "attempt", f"started{zone}", f"ended{zone}"):
            table.add_column(column, overflow="ellipsis", no_wrap=True)
        table.add_column("reason", overflow="ellipsis", no_wrap=True, ratio=1)
        for run in self._latest:
            state = cell(run["state"])
            table.add_row(
                Text(cell(run["job"])),
                Text(state, style=STATE_STYLES.get(state, "")),
                cell(run["attempt"]),
                _time(run["claimed_at"]),
                _time(run["finished_at"]),
                Text(cell(run["reason"])),
            )
        return table


def _time(at: datetime | None) -> str:
    return "" if at is None else f"{at.astimezone():%H:%M:%S}"


def _summary(counts: Mapping[str, int]) -> Text:
    text = Text("runs: ")
    for state in _STATES:
        if counts.get(state):
            text.append(f"{counts[state]} {state}  ", style=STATE_STYLES.get(state, ""))
    return text
