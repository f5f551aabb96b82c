"""The params of a job against its ``params_schema``, as far as they are known before it runs."""

from collections.abc import Iterator

from scheduler.definitions.problems import Path
from schemas.job_spec import JobSpec


def check_params(spec: JobSpec) -> Iterator[tuple[Path, str]]:
    """Yield path and message for a wrong schema, and for params that a firing would bring and it does not allow.

    What starts without a person's words has to be complete: the params under each trigger, and of a job with needs.
    """
    if spec.params_schema is None:
        return
    from scheduler.domain.params_check import check_params_schema, find_wrong_params, names_of_templates

    wrong = check_params_schema(spec.params_schema)
    if wrong is not None:
        yield ("params_schema",), wrong
        return
    schema, unknown = spec.params_schema, names_of_templates(spec.params)
    wrong_defaults = find_wrong_params(schema, spec.params, unknown=unknown, complete=bool(spec.needs))
    for path, message in wrong_defaults:
        yield ("params", *path), message
    for index, trigger in enumerate(() if wrong_defaults else spec.triggers):
        params = {**spec.params, **trigger.params}
        for path, message in find_wrong_params(schema, params, unknown=names_of_templates(params)):
            yield ("triggers", index, "params", *path), message
