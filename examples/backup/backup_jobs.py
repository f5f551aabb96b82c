"""The python jobs of the backup. Plain functions: params come by name, ``ctx`` tells which run this is."""

import hashlib
import json
import os
import shutil
import time
from pathlib import Path
from typing import Any

from scheduler.handlers import HandlerContext

CHUNK_BYTES = 1024 * 1024
LEDGER = "ledger.jsonl"
"""Each start and finish of a python job, written by the job itself: what really ran, whoever says otherwise."""


def dump(source: str, into: str, ctx: HandlerContext) -> dict[str, Any]:
    """Copy ``source`` to a new folder below ``into`` with the SHA-256 of every file; there whole or not at all.

    The checksums are those of the bytes copied. A file that changes meanwhile is copied again.
    """
    _note(ctx, "start")
    folder = Path(into) / f"{ctx.fired_at:%Y%m%dT%H%M%SZ}"
    unfinished = folder.with_suffix(".unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)  # of an attempt that was lost
    sums: list[bytes] = []
    size = 0
    for original in sorted(Path(source).rglob("*")):
        name = Path("data") / original.relative_to(source)
        copy = unfinished / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        if original.is_symlink():
            copy.symlink_to(original.readlink())
        elif original.is_dir():
            copy.mkdir(exist_ok=True)
        else:
            digest, copied = _copy(original, copy)
            sums.append(_sum_line(digest, os.fsencode(name)))
            size += copied
    (unfinished / "SHA256SUMS").write_bytes(b"".join(sums))
    unfinished.rename(folder)
    ctx.log(f"copied {len(sums)} files, {size} bytes")
    _note(ctx, "finish")
    return {"folder": str(folder), "files": len(sums), "bytes": size}


def mirror(archive: str, into: str, refusals: int, ctx: HandlerContext) -> dict[str, Any]:
    """Copy ``archive`` below ``into``; the first ``refusals`` attempts are refused."""
    _note(ctx, "start")
    if ctx.attempt <= refusals:
        raise ConnectionRefusedError(f"the mirror is busy (attempt {ctx.attempt})")
    target = Path(into) / Path(archive).name
    target.parent.mkdir(exist_ok=True)
    shutil.copyfile(archive, target)
    _note(ctx, "finish")
    return {"archive": archive, "mirror": str(target), "attempt": ctx.attempt}


def report(dumped: int, verified: int, archive: str, mirrored_by_attempt: int, ctx: HandlerContext) -> dict[str, Any]:
    """Write what the jobs before found, for people and for programs."""
    _note(ctx, "start")
    facts = {
        "run": str(ctx.run_id),
        "flow": str(ctx.flow_id),
        "fired_at": f"{ctx.fired_at:%Y-%m-%dT%H:%M:%SZ}",
        "files_dumped": dumped,
        "files_verified": verified,
        "archive": archive,
        "archive_bytes": Path(archive).stat().st_size,
        "archive_sha256": hashlib.sha256(Path(archive).read_bytes()).hexdigest(),
        "mirrored_by_attempt": mirrored_by_attempt,
    }
    Path("report.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    rows = "".join(f"| {name.replace('_', ' ')} | {value} |\n" for name, value in facts.items())
    Path("report.md").write_text(f"# Backup\n\n| what | value |\n|---|---|\n{rows}", encoding="utf-8")
    _note(ctx, "finish")
    return {"report": "report.md"}


def add_order(folder: str, ctx: HandlerContext) -> dict[str, Any]:
    """Add one file to the data, in one step: written beside, then renamed."""
    _note(ctx, "start")
    beside = Path(f"order.{ctx.run_id}")
    beside.write_text(json.dumps({"order": str(ctx.run_id), "fired_at": str(ctx.fired_at)}), encoding="utf-8")
    path = Path(folder) / f"{ctx.fired_at:%H%M%S} ordered while the backup runs.json"
    beside.rename(path)
    _note(ctx, "finish")
    return {"order": path.name}


def _copy(original: Path, copy: Path) -> tuple[str, int]:
    """Copy one file; return SHA-256 and size of what was written."""
    while True:
        with original.open("rb") as source, copy.open("wb") as target:
            before = os.fstat(source.fileno())
            digest = hashlib.sha256()
            while chunk := source.read(CHUNK_BYTES):
                digest.update(chunk)
                target.write(chunk)
            after = os.fstat(source.fileno())
        if (before.st_mtime_ns, before.st_size) == (after.st_mtime_ns, after.st_size):
            return digest.hexdigest(), after.st_size


def _sum_line(digest: str, name: bytes) -> bytes:
    """Return a line as sha256sum(1) writes it: names with a line feed or backslash are escaped."""
    escaped = name.replace(b"\\", b"\\\\").replace(b"\n", b"\\n")
    mark = b"\\" if escaped != name else b""
    return mark + digest.encode() + b"  " + escaped + b"\n"


def _note(ctx: HandlerContext, what: str) -> None:
    entry = {"job": ctx.job, "run": str(ctx.run_id), "attempt": ctx.attempt, "what": what, "at": time.time_ns()}
    ledger = os.open(LEDGER, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        os.write(ledger, json.dumps(entry).encode() + b"\n")
    finally:
        os.close(ledger)
