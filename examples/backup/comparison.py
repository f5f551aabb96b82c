"""Compares what happened with what should have: from the files on disk and from what the scheduler tells.

It knows nothing of how the jobs or the scheduler work: checksums, schedules and order are computed again here.
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

from archive_check import Archive, check_archive

NEEDS: Final = {
    "verify": ("dump",),
    "archive": ("dump", "verify"),
    "mirror": ("dump", "archive"),
    "report": ("dump", "verify", "archive", "mirror"),
    "alert": ("tape",),
}
FIRES: Final = {"dump": (1, 3), "add-order": (5, 2), "inventory": (3, 3), "tape": (1, 1)}
"""How often each trigger has to fire, and how many seconds lie between two of its instants."""
DETAILED: Final = ("mirror", "tape")
PYTHON_JOBS: Final = ("dump", "mirror", "report", "add-order")
MIRROR_ATTEMPTS: Final = 3
TAPE_SOFT_S: Final = 2.0
TAPE_HARD_S: Final = 5.0

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Seen:
    """What the scheduler told, in the form of ``scheduler … --json``."""

    runs: list[Row]
    """As of ``runs``; those of DETAILED jobs as of ``run show``, with their attempts."""
    firings: list[Row]

    def of(self, job: str) -> list[Row]:
        return [run for run in self.runs if run["job"] == job]


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that must hold, and what speaks against it: nothing when it holds."""

    what: str
    wrong: list[str]


def compare(folder: Path, seen: Seen) -> list[Check]:
    """Return every check, those that hold too. Reads files below ``folder`` only."""
    archive = Archive.find(folder)
    return [
        Check("each planned firing has exactly one verdict", list(_firings(seen))),
        Check("each started firing has exactly one run", list(_started(seen))),
        Check("each job ended as it should", list(_ends(seen))),
        Check("no job began before the jobs it needs had ended", list(_order(seen))),
        Check("the mirror took three attempts", list(_mirror(seen))),
        Check("the tape ran into its time limit", list(_tape(seen))),
        Check("the jobs' own ledger agrees: no attempt started twice", list(_ledger(folder, seen))),
        Check("the archive holds every file with its checksum", list(check_archive(folder, archive))),
        Check("the report tells what is on disk", list(_report(folder, archive))),
    ]


def _firings(seen: Seen) -> Iterator[str]:
    found: dict[str, list[datetime]] = {job: [] for job in FIRES}
    for row in seen.firings:
        if row["job"] not in FIRES:
            yield f"{row['job']} has a firing and no trigger"
            continue
        if not row["verdict"]:
            yield f"{row['job']} {row['fires_at']}: no verdict"
        found[row["job"]] += _instants(row, FIRES[row["job"]][1])
    for job, (count, period) in FIRES.items():
        instants = sorted(found[job])
        if len(instants) != count:
            yield f"{job}: {len(instants)} instants, {count} expected"
        for before, after in pairwise(instants):
            if after - before != timedelta(seconds=period):
                yield f"{job}: {after - before} between {before} and {after}"
    if uneven := [at for at in found["inventory"] if at.second % 3 or at.microsecond]:
        yield f"inventory: fired at {uneven[0]}, not at a multiple of 3 s"


def _instants(row: Row, period_s: int) -> list[datetime]:
    """Return the instants that a row of the ledger stands for; a stretch is one row."""
    first = datetime.fromisoformat(row["fires_at"])
    return [first + number * timedelta(seconds=period_s) for number in range(row["count"])]


def _started(seen: Seen) -> Iterator[str]:
    runs = Counter(run["firing_id"] for run in seen.runs if run["firing_id"])
    ids = {run["id"]: run for run in seen.runs}
    for row in seen.firings:
        expected = 1 if row["verdict"] == "started" else 0
        if runs.pop(row["id"], 0) != expected:
            yield f"{row['job']} {row['fires_at']}: {row['verdict']}, and not {expected} runs"
        elif expected and row["run_id"] not in ids:
            yield f"{row['job']} {row['fires_at']}: its run {row['run_id']} is not listed"
    yield from (f"a run of the firing {firing}, which is not listed" for firing in runs)


def _ends(seen: Seen) -> Iterator[str]:
    for job in sorted({*FIRES, *NEEDS, *(run["job"] for run in seen.runs)}):
        state = "failed" if job == "tape" else "succeeded"
        runs = seen.of(job)
        if not runs or (job in NEEDS and len(runs) != 1):
            yield f"{job}: {len(runs)} runs"
        yield from (f"{job}: {run['state']} ({run['reason']})" for run in runs if run["state"] != state)


def _order(seen: Seen) -> Iterator[str]:
    for job, needs in NEEDS.items():
        for run in seen.of(job):
            for upstream in (found for need in needs for found in seen.of(need)):
                began, ended = _instant(run["claimed_at"]), _instant(upstream["finished_at"])
                if began is None or ended is None or began < ended:
                    yield f"{job} began {run['claimed_at']}, {upstream['job']} ended {upstream['finished_at']}"
                if run["flow_id"] != upstream["flow_id"]:
                    yield f"{job} and {upstream['job']} are not of one flow"


def _instant(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


def _mirror(seen: Seen) -> Iterator[str]:
    for run in seen.of("mirror"):
        outcomes = [attempt["outcome"] for attempt in run["attempts"]]
        if outcomes != ["failed"] * (MIRROR_ATTEMPTS - 1) + ["succeeded"]:
            yield f"its attempts: {', '.join(outcomes)}"


def _tape(seen: Seen) -> Iterator[str]:
    for run in seen.of("tape"):
        attempts = [(attempt["outcome"], attempt["elapsed_s"]) for attempt in run["attempts"]]
        if len(attempts) != 1 or attempts[0][0] != "timed_out" or not TAPE_SOFT_S <= attempts[0][1] <= TAPE_HARD_S + 1:
            yield f"its attempts: {attempts}"


def _ledger(folder: Path, seen: Seen) -> Iterator[str]:
    told: Counter[tuple[str, str, int, str]] = Counter()
    for line in (folder / "ledger.jsonl").read_text(encoding="utf-8").splitlines():
        entry = json.loads(line)
        told[entry["job"], entry["run"], entry["attempt"], entry["what"]] += 1
    expected: Counter[tuple[str, str, int, str]] = Counter()
    for run in (run for job in PYTHON_JOBS for run in seen.of(job)):
        for attempt in range(1, run["attempt"] + 1):
            expected[run["job"], run["id"], attempt, "start"] = 1
        if run["outcome"] == "succeeded":
            expected[run["job"], run["id"], run["attempt"], "finish"] = 1
    for key in sorted(told.keys() | expected.keys()):
        if told[key] != expected[key]:
            job, number, attempt, what = key
            yield f"{what} of {job} {number} attempt {attempt}: {told[key]} times, recorded {expected[key]} times"


def _report(folder: Path, archive: Archive) -> Iterator[str]:
    try:
        told = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        yield f"report.json: {error}"
        return
    expected = {
        "files_dumped": archive.files,
        "files_verified": archive.files,
        "archive_bytes": archive.size,
        "archive_sha256": archive.sha256,
        "mirrored_by_attempt": MIRROR_ATTEMPTS,
    }
    yield from (
        f"{name}: {told.get(name)}, on disk {value}" for name, value in expected.items() if told.get(name) != value
    )
