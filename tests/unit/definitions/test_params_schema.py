"""``params_schema``: what validation says of it, and of the params that firings would bring."""

from pathlib import Path

import pytest

from scheduler.definitions.load import load
from scheduler.errors import DefinitionsError

FILE = """\
version: 1
jobs:
  dump:
    run: {command: [dump]}
    params: PARAMS
    params_schema: {properties: {out: {type: string}, level: {enum: [1, 2]}}, required: [out, level]}
    triggers: TRIGGERS
"""


def problems(tmp_path: Path, params: str, triggers: str = "[]", schema: str | None = None) -> list[str]:
    """Return what is wrong, without the name of the file."""
    text = FILE.replace("PARAMS", params).replace("TRIGGERS", triggers)
    if schema is not None:
        text = text[: text.index("{properties")] + schema + "\n"
    file = tmp_path / "jobs.yaml"
    file.write_text(text)
    try:
        load([file])
    except DefinitionsError as error:
        return [line.removeprefix(f"{file}:") for line in error.problems]
    return []


def test_defaults_of_a_job_that_a_person_starts_may_be_incomplete_and_never_wrong(tmp_path: Path) -> None:
    assert [] == problems(tmp_path, "{out: a}")
    assert ["5:21: jobs.dump.params.level: 9 is not one of [1, 2]"] == problems(tmp_path, "{level: 9}")


def test_what_a_trigger_brings_has_to_be_complete(tmp_path: Path) -> None:
    complete = "[{cron: '0 2 * * *', params: {level: 2}}]"
    assert [] == problems(tmp_path, "{out: a}", complete)
    (said,) = problems(tmp_path, "{out: a}", "[{cron: '0 2 * * *'}]")
    assert said.endswith("jobs.dump.triggers[0].params: 'level' is a required property")
    (said,) = problems(tmp_path, "{out: a}", complete.replace("2}", "3}"))
    assert said.endswith("jobs.dump.triggers[0].params.level: 3 is not one of [1, 2]")


def test_a_template_is_not_judged(tmp_path: Path) -> None:
    assert [] == problems(tmp_path, "{out: a, level: '{{ run.attempt }}'}", "[{cron: '0 2 * * *'}]")


@pytest.mark.parametrize(
    ("schema", "said"),
    [("{type: objekt}", "is no JSON Schema"), ("{$ref: 'https://x.example/a'}", "leads out of the schema")],
)
def test_a_schema_that_cannot_check_is_refused(tmp_path: Path, schema: str, said: str) -> None:
    (problem,) = problems(tmp_path, "{out: a}", schema=schema)

    assert "jobs.dump.params_schema" in problem
    assert said in problem
