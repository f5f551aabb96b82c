#!/usr/bin/env python3
"""Writes the pages that follow from the code: run-states.md and topology.md. A test compares them.

python docs/generate.py
"""

import ast
import inspect
import sys
from collections.abc import Iterable, Mapping
from enum import Enum
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from scheduler.domain.run_state import FINAL, TRANSITIONS, Move  # noqa: E402 - the checkout's own, wherever it is run from
from scheduler.metric_names import ALL as METRICS  # noqa: E402 - see above
from scheduler.transport.broker_users import NOTHING, BrokerUser, broker_users  # noqa: E402 - see above
from scheduler.transport.topology import ROUTES, Limits, topology  # noqa: E402 - see above
from schemas.vocabulary import RunState  # noqa: E402 - see above

_NOTE: Final = "<!-- Written by docs/generate.py; change the code, not this page. -->"
_GIB: Final = 1024**3
_BEGIN: Final = "<!-- metrics -->"
_END: Final = "<!-- end of metrics -->"


def run_states() -> str:
    """Return the page of the states of a run."""
    moves = [(state, move, to) for state, ways in TRANSITIONS.items() for move, to in ways.items()]
    diagram = [f"    {state.value} --> {to.value}: {move.value}" for state, move, to in moves]
    ends = [f"    {state.value} --> [*]" for state in TRANSITIONS if state in FINAL]
    return _page(
        "# The states of a run",
        _NOTE,
        "Every move of a run is in `TRANSITIONS` of `scheduler/domain/run_state.py`; nothing else moves a run.\n"
        "Attempts, leases and reasons are columns, not states.",
        "\n".join(
            [
                "```mermaid",
                "stateDiagram-v2",
                "    [*] --> waiting: has needs, or waits for its turn",
                "    [*] --> ready: has none",
                *diagram,
                *ends,
                "```",
            ]
        ),
        _table(("state", "means"), ((f"`{state.value}`", _explained(state)) for state in TRANSITIONS)),
        _table(("move", "from", "to", "means"), _moves(moves)),
    )


def topology_page() -> str:
    """Return the page of exchanges, queues and bindings."""
    parts = topology({"default": 1000})
    carried = {(route.exchange, kind): kind for kind, route in ROUTES.items()}
    return _page(
        "# Exchanges, queues and bindings",
        _NOTE,
        "Declared by `scheduler broker declare` from `scheduler/transport/topology.py`; actors only check that they\n"
        "are there. All are durable. Shown for the pool `default`; each further pool has a queue\n"
        "`scheduler.executor.<pool>` with the pool's own limit. Each executor makes one exclusive queue\n"
        "`scheduler.control.<executor>`, bound to `scheduler.control` under its name, that goes with its connection.",
        "## Exchanges",
        _table(
            ("exchange", "kind", "what no binding takes goes to"),
            ((f"`{e.name}`", e.kind, f"`{e.alternate}`" if e.alternate else "nowhere") for e in parts.exchanges),
        ),
        "## Queues",
        _table(
            ("queue", "holds at most", "what is given up goes to the dead letters"),
            ((f"`{q.name}`", _limits(q.limits), "yes" if q.dead_letters else "no") for q in parts.queues),
        ),
        "## Bindings",
        _table(
            ("exchange", "routing key", "queue", "carries"),
            (
                (f"`{b.exchange}`", f"`{b.key}`" if b.key else "", f"`{b.queue}`", _carries(b.exchange, b.key, carried))
                for b in parts.bindings
            ),
        ),
        "## Messages",
        _table(
            ("message", "exchange", "routing key"),
            ((f"`{kind}`", f"`{route.exchange}`", _key(route.per, kind)) for kind, route in ROUTES.items()),
        ),
        "## Users",
        "Made by `scheduler broker users`; patterns of names. Shown for the pool `default`, and for a publisher and a\n"
        "reader without names. See [operations.md](operations.md#broker-users).",
        _table(("user", "configure", "write", "read", "topics"), map(_user, broker_users(["default"]))),
    )


def metrics_page() -> str:
    """Return the page of metrics with its table anew; the rest of it is written by hand."""
    rows = ((f"`{m.name}`", m.kind, ", ".join(f"`{label}`" for label in m.labels), m.text) for m in METRICS)
    before, _, rest = (ROOT / "docs/metrics.md").read_text(encoding="utf-8").partition(_BEGIN)
    table = _table(("metric", "kind", "labels", "means"), rows)
    return f"{before}{_BEGIN}\n{table}\n{_END}{rest.partition(_END)[2]}"


PAGES: Final = {"docs/run-states.md": run_states, "docs/topology.md": topology_page, "docs/metrics.md": metrics_page}


def _moves(moves: Iterable[tuple[RunState, Move, RunState]]) -> Iterable[tuple[str, ...]]:
    for move in Move:
        ways: dict[RunState, list[str]] = {}
        for state, taken, to in moves:
            if taken is move:
                ways.setdefault(to, []).append(f"`{state.value}`")
        for to, states in ways.items():
            yield f"`{move.value}`", ", ".join(states), f"`{to.value}`", _explained(move)


def _explained(member: Enum) -> str:
    """Return the text under a member in its class's source; empty when it has none."""
    body = ast.parse(inspect.getsource(type(member))).body[0]
    if not isinstance(body, ast.ClassDef):
        return ""
    for line, following in zip(body.body, body.body[1:], strict=False):
        named = (
            isinstance(line, ast.Assign) and isinstance(line.targets[0], ast.Name) and line.targets[0].id == member.name
        )
        if named and isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant):
            return " ".join(str(following.value.value).split())
    return ""


def _limits(limits: Limits) -> str:
    found = []
    if limits.max_length is not None:
        found.append(f"{limits.max_length:,} messages")
    if limits.max_length_bytes is not None:
        found.append(f"{limits.max_length_bytes // _GIB} GiB")
    if limits.ttl_s is not None:
        found.append(_span(limits.ttl_s))
    if not found:
        return "no limit"
    full = "the new one is refused" if limits.overflow == "reject-publish" else "the oldest goes"
    return f"{', '.join(found)}; then {full}"


def _span(seconds: int) -> str:
    for unit, length in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds % length == 0:
            return f"{seconds // length} {unit}"
    return f"{seconds} s"


def _carries(exchange: str, key: str, carried: Mapping[tuple[str, str], str]) -> str:
    if (exchange, key) in carried:
        return f"`{key}`"
    if exchange == ROUTES["attempt.start"].exchange:
        return "`attempt.start`"
    return "what nobody could take"


def _user(user: BrokerUser) -> tuple[str, ...]:
    patterns = (user.configure, user.write, user.read)
    topics = user.topic and f"{user.topic.exchange}: {'writes' if user.topic.read == NOTHING else 'reads'}"
    keys = user.topic and f" {_pattern(user.topic.write if user.topic.read == NOTHING else user.topic.read)}"
    return f"`{user.name}`", *map(_pattern, patterns), f"{topics}{keys}" if user.topic else ""


def _pattern(text: str) -> str:
    """Return a pattern as code in a table, where a bar would end the cell."""
    return "`" + text.replace("|", "\\|") + "`"


def _key(per: str, kind: str) -> str:
    return f"`{kind}`" if per == "store" else f"the {per}'s name"


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _page(*parts: str) -> str:
    return "\n\n".join(parts) + "\n"


def main() -> None:
    for name, page in PAGES.items():
        (ROOT / name).write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
