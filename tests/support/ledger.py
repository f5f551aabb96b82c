"""Checks what jobs wrote about themselves against the rows. Shares no code with the product.

``read`` takes the ledger file, ``fetch_rows`` the tables in plain SQL, and ``violations`` says in
sentences what is wrong with both; nothing wrong is an empty list.
"""

import itertools
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncpg

FINAL = {"succeeded", "failed", "cancelled", "skipped"}
TRIED_AGAIN = {"failed", "timed_out", "out_of_limits", "lost"}
Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the ledger. ``at_ns`` is the machine's monotonic clock."""

    at_ns: int
    tenant: str
    job: str
    fired_at: str
    run_id: str
    attempt: int
    event: str
    mark: str
    """Process id and nonce: the same at the start and the end of one process."""

    @property
    def pid(self) -> int:
        return int(self.mark.split()[0])


def read(path: Path) -> list[Entry]:
    """Return the lines in order; raises ValueError for one that nobody should have written."""
    entries = []
    for line in path.read_text().splitlines() if path.exists() else []:
        version, at_ns, tenant, job, fired_at, run_id, attempt, event, pid, nonce = line.split(" ")
        if version != "v1" or event not in {"start", "finish"}:
            raise ValueError(line)
        entries.append(Entry(int(at_ns), tenant, job, fired_at, run_id, int(attempt), event, f"{pid} {nonce}"))
    return entries


@dataclass(frozen=True, slots=True)
class Rows:
    """What the database says of one tenant; ids are text."""

    firings: Sequence[Row] = ()
    runs: Sequence[Row] = ()
    attempts: Sequence[Row] = ()
    edges: Sequence[Row] = ()


_SQL = {
    "firings": """SELECT f.id::text, j.name AS job, f.kind, f.fires_at, f.count, f.verdict, f.run_id::text,
                         f.sweep_at IS NOT NULL AS owed
                  FROM scheduler.firings AS f JOIN scheduler.jobs AS j ON j.id = f.job_id WHERE f.tenant = $1""",
    "runs": """SELECT id::text, job_name AS job, flow_id::text, firing_id::text, state, attempt,
                      finished_at IS NOT NULL AND sweep_at IS NOT NULL AS owed
               FROM scheduler.runs WHERE tenant = $1""",
    "attempts": """SELECT run_id::text, attempt, outcome, late_end IS NOT NULL AS late
                   FROM scheduler.attempts WHERE tenant = $1""",
    "edges": """SELECT run_id::text, upstream_run_id::text AS upstream, state
                FROM scheduler.run_edges WHERE tenant = $1""",
}


async def fetch_rows(db: "asyncpg.Connection[asyncpg.Record]", tenant: str) -> Rows:
    return Rows(**{name: [dict(row) for row in await db.fetch(query, tenant)] for name, query in _SQL.items()})


@dataclass(frozen=True, slots=True)
class Expected:
    """What the definitions promise, worked out by the test. ``flows``: the jobs of a flow, by its first job."""

    instants: Mapping[str, Sequence[datetime]]
    flows: Mapping[str, frozenset[str]] = field(default_factory=dict)
    losses: bool = False
    """A fault explains lost attempts: an executor died, stood still, or could not be heard."""
    alone: frozenset[str] = frozenset()
    """Jobs of which no two runs may run at once."""


def violations(rows: Rows, entries: Sequence[Entry], expected: Expected) -> list[str]:
    """Return what breaks a promise; ``entries`` are those of the same tenant."""
    told = _Told(entries)
    return [
        *_firings(rows, expected),
        *_runs(rows, expected),
        *_starts(rows, told),
        *_attempts(rows, told, losses=expected.losses),
        *_order(rows, told),
        *_turns(entries, expected.alone),
    ]


class _Told:
    """The ledger by run and attempt."""

    def __init__(self, entries: Sequence[Entry]) -> None:
        self.starts: dict[tuple[str, int], list[Entry]] = defaultdict(list)
        self.finishes: dict[tuple[str, int], list[Entry]] = defaultdict(list)
        for entry in entries:
            kept = self.starts if entry.event == "start" else self.finishes
            kept[entry.run_id, entry.attempt].append(entry)


def _firings(rows: Rows, expected: Expected) -> Iterator[str]:
    planned = Counter((row["job"], row["fires_at"]) for row in rows.firings if row["kind"] == "time")
    wanted = Counter((job, at) for job, instants in expected.instants.items() for at in instants)
    for job, at in sorted(wanted.keys() | planned.keys()):
        if planned[job, at] != wanted[job, at]:
            yield f"{job} at {at:%T.%f}: {planned[job, at]} rows instead of {wanted[job, at]}"
    runs = Counter(row["firing_id"] for row in rows.runs if row["firing_id"] is not None)
    known = {row["id"] for row in rows.firings}
    for firing in rows.firings:
        name = f"firing of {firing['job']} at {firing['fires_at']:%T.%f}"
        if firing["verdict"] is None or firing["owed"] or firing["count"] != 1:
            yield f"{name}: verdict {firing['verdict']}, owed {firing['owed']}, stands for {firing['count']}"
        begun = int(firing["verdict"] == "started")
        if runs[firing["id"]] != begun or begun != int(firing["run_id"] is not None):
            yield f"{name}: {runs[firing['id']]} runs under verdict {firing['verdict']}"
    for firing_id in runs.keys() - known:
        yield f"run of an unknown firing {firing_id}"


def _runs(rows: Rows, expected: Expected) -> Iterator[str]:
    flows: dict[str, Counter[str]] = defaultdict(Counter)
    roots: dict[str, str] = {}
    for run in rows.runs:
        if run["state"] not in FINAL or run["owed"]:
            yield f"{_name(run)} is {run['state']} and owes {'something' if run['owed'] else 'its end'}"
        flows[run["flow_id"]][run["job"]] += 1
        if run["firing_id"] is not None:
            roots[run["flow_id"]] = run["job"]
    for flow_id, jobs in flows.items():
        wanted = expected.flows.get(roots.get(flow_id, ""), frozenset(jobs))
        if jobs != Counter(wanted):
            yield f"flow {flow_id} has {dict(jobs)} instead of {sorted(wanted)}"


def _starts(rows: Rows, told: _Told) -> Iterator[str]:
    runs = {row["id"]: row for row in rows.runs}
    for (run_id, attempt), starts in told.starts.items():
        run = runs.get(run_id)
        if len(starts) > 1:
            yield f"attempt {attempt} of {starts[0].job} {run_id} started {len(starts)} times"
        if run is None or attempt > run["attempt"]:
            yield f"attempt {attempt} of {starts[0].job} {run_id} started and has no row"
        before = told.starts.get((run_id, attempt - 1))
        if before and before[0].at_ns > starts[0].at_ns:
            yield f"attempt {attempt} of {starts[0].job} {run_id} started before attempt {attempt - 1}"
    for key, finishes in told.finishes.items():
        starts = told.starts.get(key, [])
        if [entry.mark for entry in finishes] != [entry.mark for entry in starts]:
            yield f"attempt {key[1]} of {finishes[0].job} {key[0]} finished {len(finishes)} times"


def _attempts(rows: Rows, told: _Told, *, losses: bool) -> Iterator[str]:
    outcomes = {(row["run_id"], row["attempt"]): row["outcome"] for row in rows.attempts}
    for run in rows.runs:
        last = (run["id"], run["attempt"])
        if run["state"] == "succeeded" and (outcomes.get(last) != "succeeded" or not told.finishes.get(last)):
            found = len(told.finishes.get(last, []))
            yield f"{_name(run)} succeeded, attempt {last[1]} {outcomes.get(last)} with {found} finishes in the ledger"
        for attempt in range(1, run["attempt"]):
            if outcomes.get((run["id"], attempt)) not in TRIED_AGAIN:
                yield f"{_name(run)} has attempt {attempt + 1} after {outcomes.get((run['id'], attempt))}"
    for (run_id, attempt), outcome in outcomes.items():
        if outcome == "lost" and not losses:
            yield f"attempt {attempt} of {run_id} was lost without a reason"
        if outcome in {"succeeded", "failed"} and len(told.starts.get((run_id, attempt), [])) != 1:
            yield f"attempt {attempt} of {run_id} {outcome} without a start in the ledger"
    for row in rows.attempts:
        if row["late"] and row["outcome"] not in {"lost", "cancelled"}:
            yield f"attempt {row['attempt']} of {row['run_id']} has a late word beside {row['outcome']}"


def _order(rows: Rows, told: _Told) -> Iterator[str]:
    runs = {row["id"]: row for row in rows.runs}
    for edge in rows.edges:
        child, parent = runs[edge["run_id"]], runs.get(edge["upstream"])
        if edge["state"] == "open" or parent is None:
            yield f"a need of {_name(child)} is not decided"
            continue
        starts = [entries[0].at_ns for (run_id, _), entries in told.starts.items() if run_id == child["id"]]
        finishes = told.finishes.get((parent["id"], parent["attempt"]), [])
        if starts and (not finishes or min(starts) < finishes[0].at_ns):
            yield f"{_name(child)} started before {_name(parent)} finished"


def _turns(entries: Sequence[Entry], alone: frozenset[str]) -> Iterator[str]:
    """A run has its place from its first start to its last word, through all its attempts."""
    spans: dict[tuple[str, str], list[int]] = defaultdict(list)
    for entry in entries:
        if entry.job in alone:
            spans[entry.job, entry.run_id].append(entry.at_ns)
    ordered = sorted((job, min(times), max(times), run_id) for (job, run_id), times in spans.items())
    for (job, _, end, before), (next_job, start, _, run_id) in itertools.pairwise(ordered):
        if job == next_job and start < end:
            yield f"run {run_id} of {job} started beside run {before}"


def _name(run: Row) -> str:
    return f"run {run['id']} of {run['job']}"
