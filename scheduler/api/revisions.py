"""ETag, If-Match and If-None-Match of jobs."""

import hashlib
from datetime import datetime
from typing import Annotated, Any

from fastapi import Header, Response

from scheduler.api.problems import ProblemError
from scheduler.api.route import Call
from scheduler.store.job_revision import JobRevision, hold_job

IfMatch = Annotated[str | None, Header(description="Only if the job's ETag is one of these; else 412.")]
IfNoneMatch = Annotated[str | None, Header(description="`*`: only if there is no such job; else 412.")]


def etag_of(version: int, updated_at: datetime) -> str:
    """Return the ETag of a job: it moves with its definition and its switches, not with its runs."""
    return f'"{hashlib.sha256(f"{version} {updated_at.isoformat()}".encode()).hexdigest()[:20]}"'


def tag(response: Response, row: dict[str, Any]) -> None:
    """Say the ETag of the job in ``row``."""
    response.headers["ETag"] = etag_of(row["version"], row["updated_at"])


async def hold(call: Call, name: str, if_match: str | None, if_none_match: str | None = None) -> JobRevision | None:
    """Lock the job and compare; return its revision, None where there is none.

    Raises:
        ProblemError: 412, it is not as the caller has seen it; 400, a tag that is none.
    """
    revision = await hold_job(call.store, call.tenant, name)
    if if_none_match is not None:
        if if_none_match.strip() != "*":
            raise ProblemError(400, "If-None-Match of a change can only be *")
        if revision is not None:
            raise ProblemError(412, f"there is a job {name} already")
    if if_match is not None and (revision is None or not _fits(if_match, revision)):
        raise ProblemError(412, f"job {name} is not as you have seen it")
    return revision


def _fits(if_match: str, revision: JobRevision) -> bool:
    tags = [part.strip() for part in if_match.split(",")]
    return "*" in tags or etag_of(revision.version, revision.updated_at) in tags
