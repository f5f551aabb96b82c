"""Params that somebody gives by hand, against the ``params_schema`` of the jobs they are for."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from scheduler.errors import InvalidParamsError
from scheduler.store.queries import queries

if TYPE_CHECKING:
    from scheduler.store.pool import Connection

Q: Final = queries("control")


async def check_given_params(
    db: "Connection", jobs: Sequence[Mapping[str, Any]], params: Mapping[str, Any] | None
) -> None:
    """Look at ``params`` over those of each job (id, name, version) that has a schema.

    Raises:
        InvalidParamsError: with every param that one of them does not allow.
    """
    rows = await db.fetch(Q["list_schemas"], [job["id"] for job in jobs], [job["version"] for job in jobs])
    if not rows:
        return
    from scheduler.domain.params_check import find_wrong_params, names_of_templates, show_wrong_params

    names = {job["id"]: job["name"] for job in jobs}
    problems: list[str] = []
    details: list[Mapping[str, object]] = []
    for row in rows:
        unknown = names_of_templates(row["params"]) - (params or {}).keys()
        found = find_wrong_params(row["schema"], {**row["params"], **(params or {})}, unknown=unknown)
        name = names[row["job_id"]]
        problems += [f"job {name}: {line}" for line in show_wrong_params(found)]
        details += [{"job": name, "path": ["params", *path], "message": message} for path, message in found]
    if problems:
        raise InvalidParamsError(problems, details)
