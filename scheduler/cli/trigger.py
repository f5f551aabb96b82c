"""``scheduler trigger``: fire jobs now, and if asked wait for the end."""

from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from scheduler.cli.shared import Json, load

if TYPE_CHECKING:
    from scheduler.config import Settings
    from scheduler.store.control import Asked
    from scheduler.store.reading import Row

_STARTED: Final = ("started", "joined")
_LONGEST_RESULT: Final = 200
"""Characters of a result that are shown; --json has all of it."""


def trigger(
    context: typer.Context,
    *,
    names: Annotated[list[str], typer.Argument(metavar="NAME...", help="Jobs, each fired once.")],
    params: Annotated[str | None, typer.Option("--params", help="JSON object, over the job's params.")] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until the runs have ended; exit 1 if one failed.")] = False,
    timeout: Annotated[str | None, typer.Option("--timeout", help="With --wait: at most this long, as in 5m.")] = None,
    json: Json = False,
) -> None:
    """Examples:

      scheduler trigger backup

      scheduler trigger import --params '{"day": "2026-03-01"}' --wait --timeout 10m

    Fire jobs now, all of them or none; runs join the trace that TRACEPARENT names, if any. While --wait waits, a line
    on a terminal says for what, and how far running jobs are; then it prints how each ended, with its result. Exit 4
    when a job is disabled or its firing was not started (its verdict says why), 1 when a run failed.
    """
    import asyncio

    from scheduler.cli.output import print_json, print_line

    data, limit_s = params_object(params), _seconds(timeout)
    if limit_s is not None and not wait:
        raise typer.BadParameter("--timeout needs --wait")
    asked, results, in_time = asyncio.run(_fire(load(context).settings, names, data, wait=wait, limit_s=limit_s))
    rows = [results.get(firing.firing_id, {"job": firing.job}) | {"id": firing.firing_id} for firing in asked]
    document = [_shown(row) for row in rows]
    if json:
        print_json({"firings": document})
    else:
        for shown in document:
            print_line(_sentence(shown))
        if not in_time:
            print_line(f"not ended within {timeout}")
    raise typer.Exit(_exit_code(document, wait=wait) if in_time else 1)


async def _fire(
    settings: "Settings", names: list[str], params: dict[str, Any] | None, *, wait: bool, limit_s: float | None
) -> "tuple[list[Asked], dict[Any, Row], bool]":
    import asyncio
    import os

    from scheduler.cli.waiting_line import waiting_line
    from scheduler.client.opening import open_store
    from scheduler.clock import SystemClock
    from scheduler.store.control import trigger_jobs
    from scheduler.store.waiting import wait_for_ends

    clock = SystemClock()
    async with open_store(settings, name="cli") as store:
        trace = os.environ.get("TRACEPARENT")
        asked = await trigger_jobs(store, settings.tenant, names, params=params, clock=clock, traceparent=trace)
        if not wait:
            return asked, {}, True
        seen: dict[Any, Row] = {}
        try:
            async with waiting_line(store, len(asked), seen, clock), asyncio.timeout(limit_s):
                await wait_for_ends(store, [firing.firing_id for firing in asked], seen, clock)
        except TimeoutError:
            return asked, seen, False
        return asked, seen, True


def _shown(row: "Row") -> dict[str, Any]:
    return {
        "firing": row["id"],
        "job": row["job"],
        "verdict": row.get("verdict"),
        "run": row.get("run_id"),
        "state": row.get("state"),
        "outcome": row.get("outcome"),
        "reason": row.get("run_reason") or row.get("reason"),
        "result": row.get("result"),
    }


def _sentence(shown: dict[str, Any]) -> str:
    import json

    if shown["verdict"] is None:
        return f"{shown['job']}: asked for, firing {shown['firing']}; its run: scheduler runs --job {shown['job']}"
    what = f"run {shown['run']} {shown['state']}" if shown["verdict"] in _STARTED else shown["verdict"]
    said = f"{shown['job']}: {what}" + (f" ({shown['reason']})" if shown["reason"] else "")
    return said if shown["result"] is None else f"{said}: {_cut(json.dumps(shown['result'], ensure_ascii=False))}"


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST_RESULT else f"{text[:_LONGEST_RESULT]}…"


def _exit_code(document: list[dict[str, Any]], *, wait: bool) -> int:
    if not wait:
        return 0
    if any(shown["verdict"] in _STARTED and shown["state"] != "succeeded" for shown in document):
        return 1
    return 4 if any(shown["verdict"] not in _STARTED for shown in document) else 0


def params_object(text: str | None) -> dict[str, Any] | None:
    """Return the JSON object that --params gives."""
    import json

    if text is None:
        return None
    try:
        value = json.loads(text, parse_constant=_refuse)
        json.dumps(value, ensure_ascii=False).encode()  # half a surrogate pair is no character
    except ValueError as error:
        raise typer.BadParameter(f"--params is no JSON: {error}") from None
    if not isinstance(value, dict) or "\\u0000" in json.dumps(value):
        raise typer.BadParameter('--params must be a JSON object without NUL characters, as in {"day": "2026-03-01"}')
    return value


def _refuse(name: str) -> None:
    raise ValueError(f"{name} is not allowed")


def _seconds(text: str | None) -> float | None:
    from datetime import timedelta

    from schemas.durations import parse_duration

    try:
        return None if text is None else parse_duration(text) / timedelta(seconds=1)
    except ValueError as error:
        raise typer.BadParameter(f"--timeout: {error}") from None


def register(app: typer.Typer) -> None:
    app.command()(trigger)
