"""Eight small handlers over real files. Start an executor that has them:

    scheduler up examples/handlers/jobs.yaml --handlers examples/handlers/handlers.py

Each takes the job's params as a dict and returns a small result, which jobs downstream see.
Those that read files are plain functions: they run in threads, and look at ``ctx.stop_requested``
where they might take long.
"""

import asyncio
import contextlib
import csv
import hashlib
import json
import os
import shutil
import signal
import statistics
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from scheduler.handlers import HandlerContext, handler

Params = dict[str, Any]


class AlertError(Exception):
    """A metric is out of its bounds; retry rules and ``needs: {when: failed}`` can act on it."""


class PolicyError(Exception):
    """The inventory breaks a rule."""


class ScriptError(Exception):
    """The script ended with another exit code than 0."""


@handler("search")
def search(ctx: HandlerContext, params: Params) -> Params:
    """Find ``text`` in the files below ``folder`` whose name fits ``match``; at most ``max`` matches."""
    text, most = params["text"], params.get("max", 100)
    matches: list[Params] = []
    for path in sorted(Path(params["folder"]).rglob(params.get("match", "*"))):
        if ctx.stop_requested or len(matches) >= most:
            break
        if path.is_file():
            matches += found_in(path, text, most - len(matches))
    ctx.log(f"{len(matches)} matches for {text!r}")
    return {"matches": matches, "complete": len(matches) < most}


def found_in(path: Path, text: str, most: int) -> list[Params]:
    found: list[Params] = []
    with path.open(encoding="utf-8", errors="replace") as file:
        for number, line in enumerate(file, start=1):
            if text in line:
                found.append({"file": str(path), "line": number, "text": line.strip()[:200]})
                if len(found) == most:
                    break
    return found


@handler("analysis")
def analysis(ctx: HandlerContext, params: Params) -> Params:
    """Statistics over one numeric ``column`` of a CSV ``file``; values that are no number are counted apart."""
    numbers: list[float] = []
    skipped = 0
    for row in rows(Path(params["file"])):
        try:
            numbers.append(float(row[params["column"]]))
        except ValueError:
            skipped += 1
    if not numbers:
        raise ValueError(f"column {params['column']} of {params['file']} holds no number")
    ctx.log(f"{len(numbers)} values, {skipped} skipped")
    return {
        "count": len(numbers),
        "skipped": skipped,
        "min": min(numbers),
        "max": max(numbers),
        "mean": statistics.fmean(numbers),
        "median": statistics.median(numbers),
        "deviation": statistics.pstdev(numbers),
    }


@handler("export")
def export(ctx: HandlerContext, params: Params) -> Params:
    """Turn the CSV ``file`` into JSON lines at ``to``, written aside and moved there whole."""
    target = Path(params["to"])
    aside = target.with_name(f".{target.name}.{ctx.run_id}")
    checksum, count = hashlib.sha256(), 0
    try:
        with aside.open("wb") as file:
            for row in rows(Path(params["file"])):
                line = json.dumps(row, ensure_ascii=False).encode() + b"\n"
                checksum.update(line)
                file.write(line)
                count += 1
        aside.replace(target)
    finally:
        aside.unlink(missing_ok=True)
    ctx.log(f"{count} rows to {target}")
    return {"rows": count, "file": str(target), "sha256": checksum.hexdigest()}


def rows(path: Path) -> Iterator[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        yield from csv.DictReader(file)


@handler("cleanup")
def cleanup(ctx: HandlerContext, params: Params) -> Params:
    """Delete files in ``folder`` that fit ``match`` and are older than ``days``, but never the newest ``keep``."""
    now = datetime.now(UTC).timestamp()
    candidates = [path for path in Path(params["folder"]).glob(params.get("match", "*")) if path.is_file()]
    candidates = [path for path in candidates if not path.is_symlink()]
    candidates.sort(key=lambda path: path.stat().st_mtime, reverse=True)
    removed, freed = [], 0
    for path in candidates[params.get("keep", 1) :]:
        facts = path.stat()
        if now - facts.st_mtime > params["days"] * 86_400:
            path.unlink()
            ctx.log(f"removed {path}")
            removed.append(path.name)
            freed += facts.st_size
    return {"removed": sorted(removed), "freed_bytes": freed, "kept": len(candidates) - len(removed)}


@handler("alert_check")
def alert_check(ctx: HandlerContext, params: Params) -> Params:
    """Fail with AlertError when ``metric`` in the JSON ``file`` lies outside ``min`` and ``max``."""
    value = json.loads(Path(params["file"]).read_text(encoding="utf-8"))[params["metric"]]
    low, high = params.get("min"), params.get("max")
    ctx.log(f"{params['metric']} is {value}")
    if low is not None and value < low:
        raise AlertError(f"{params['metric']} is {value}, below {low}")
    if high is not None and value > high:
        raise AlertError(f"{params['metric']} is {value}, above {high}")
    return {"metric": params["metric"], "value": value}


@handler("data_collection")
def data_collection(ctx: HandlerContext, params: Params) -> Params:
    """Write disk use of ``disk``, load and memory of this machine to the JSON file ``to``."""
    disk = shutil.disk_usage(params.get("disk", "/"))
    memory = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines())
    facts = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "disk_used_percent": round(100 * disk.used / disk.total, 1),
        "load_1m": os.getloadavg()[0],
        "memory_available_mib": int(memory["MemAvailable"].split()[0]) // 1024,
    }
    target = Path(params["to"])
    aside = target.with_name(f".{target.name}.{ctx.run_id}")
    aside.write_text(json.dumps(facts), encoding="utf-8")
    aside.replace(target)
    ctx.log(f"collected {len(facts)} facts")
    return facts


@handler("policy_execution")
def policy_execution(ctx: HandlerContext, params: Params) -> Params:
    """Check each object of a JSON ``inventory`` (a list) against ``rules``.

    A rule is ``{name, where: {field: value}, require: {field: condition}}``; a condition is a
    value, ``{min, max}`` or ``{one_of: […]}``. Broken rules are logged, and a failure if ``enforce``.
    """
    inventory = json.loads(Path(params["inventory"]).read_text(encoding="utf-8"))
    broken = [
        {"rule": rule["name"], "object": item.get("name"), "field": field}
        for rule in params["rules"]
        for item in inventory
        if all(item.get(field) == value for field, value in rule.get("where", {}).items())
        for field, condition in rule["require"].items()
        if not meets(item.get(field), condition)
    ]
    for breach in broken:
        ctx.log(f"{breach['object']}: {breach['field']} breaks {breach['rule']}")
    if broken and params.get("enforce", False):
        raise PolicyError(f"{len(broken)} broken rules")
    return {"checked": len(inventory), "broken": broken}


def meets(value: Any, condition: Any) -> bool:
    if not isinstance(condition, dict):
        return bool(value == condition)
    if "one_of" in condition:
        return value in condition["one_of"]
    if not isinstance(value, int | float):
        return False
    return bool(condition.get("min", value) <= value <= condition.get("max", value))


@handler("custom_script")
async def custom_script(ctx: HandlerContext, params: Params) -> Params:
    """Run the ``script`` file with ``arguments``: no shell, an environment of its own, killed with all its group."""
    environment = {"PATH": os.defpath, "LANG": "C.UTF-8", "RUN_ID": str(ctx.run_id), **params.get("env", {})}
    process = await asyncio.create_subprocess_exec(
        params.get("interpreter", "sh"),
        str(Path(params["script"]).resolve(strict=True)),  # noqa: ASYNC240 - one look at a local file
        *params.get("arguments", []),
        env=environment,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        while process.stdout is not None and (chunk := await process.stdout.read(65_536)):
            ctx.log(chunk.decode("utf-8", "replace").removesuffix("\n"))
        code = await process.wait()
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
    if code != 0:
        raise ScriptError(f"exit code {code}")
    return {"exit_code": code}
