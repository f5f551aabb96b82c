"""Any file gives definitions or problems with places; what loads can be exported and loads back."""

# ruff: noqa: PT017 - whether it raises depends on what was drawn

import json
import re

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scheduler.definitions.export import export
from scheduler.definitions.load import load
from scheduler.errors import DefinitionsError
from schemas.definitions_file import DefinitionsFile
from schemas.job_spec import (
    AtTrigger,
    CatchUpSpec,
    CronTrigger,
    EveryTrigger,
    JobSpec,
    NeedSpec,
    RetrySpec,
    TimeoutSpec,
)

LINE = re.compile(r"[^:]+/f\.(json|yaml):[1-9]\d*:[1-9]\d*: [^\n]+: [^\n]+")

SHORT = ["a", "b", "x", "retyr", "shell", "where", "webhook", "labels"]
scalars = st.sampled_from(
    [None, True, 0, 1, 7, -1, 1.5, "", "a", "b", "5s", "1 month", "0 2 * * *", "@daily", "2026-01-01 10:00", "skip",
     "allow", "all", "latest", "{{ params.x }}", "{{ run.id }}", "{{ results.a }}", "{{ (", "NO", "m:f", "https://x"]
)  # fmt: skip


def mapping(model, values):
    keys = [info.alias or name for name, info in model.model_fields.items()]
    return st.dictionaries(st.sampled_from(keys * 2 + SHORT), values, max_size=4)


triggers = (
    st.fixed_dictionaries({"cron": scalars}) | st.fixed_dictionaries({"every": scalars}) | mapping(AtTrigger, scalars)
    | mapping(CronTrigger, scalars | mapping(CatchUpSpec, scalars)) | mapping(EveryTrigger, scalars)
)  # fmt: skip
runs = st.one_of(
    scalars,
    st.just({"handler": "x"}),
    st.dictionaries(
        st.sampled_from(["command", "script", "python", "http", "handler", "shell"]),
        scalars | st.lists(scalars, max_size=2) | st.dictionaries(st.sampled_from(["url", "json", "text"]), scalars),
        max_size=2,
    ),
)
parts = {
    "triggers": scalars | st.lists(triggers | scalars, max_size=3),
    "needs": scalars | st.lists(scalars | mapping(NeedSpec, scalars), max_size=3),
    "catch_up": scalars | mapping(CatchUpSpec, scalars),
    "timeout": scalars | mapping(TimeoutSpec, scalars),
    "retry": scalars | mapping(RetrySpec, scalars),
    "params": st.dictionaries(st.sampled_from(SHORT), scalars, max_size=2),
    "env": scalars | st.dictionaries(st.sampled_from(SHORT), scalars, max_size=2),
    "secrets": st.dictionaries(st.sampled_from(SHORT), st.dictionaries(st.sampled_from(["env", "file"]), scalars)),
    "overlap": scalars,
    "enabled": scalars,
    "tags": st.lists(scalars, max_size=2),
    "labels": scalars,
}
# deferred: Hypothesis would write all of it out otherwise
any_job = st.deferred(
    lambda: st.fixed_dictionaries({}, optional={"run": runs, **parts}) | mapping(JobSpec, scalars) | scalars
)
likely_job = st.deferred(lambda: st.fixed_dictionaries({"run": st.just({"handler": "x"})}, optional=parts))
files = st.fixed_dictionaries(
    {"jobs": st.dictionaries(st.sampled_from(["a", "b", "x", "Bad"]), likely_job | any_job, max_size=3) | scalars},
    optional={
        "defaults": any_job,
        "chains": scalars
        | st.dictionaries(st.sampled_from(SHORT), scalars | st.lists(scalars, max_size=3), max_size=2),
        "pools": scalars | st.dictionaries(st.sampled_from(SHORT), st.just({"queue_limit": 1}) | scalars, max_size=1),
        "tenant": scalars,
        "source": scalars,
        "version": scalars,
    },
) | mapping(DefinitionsFile, scalars)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(files)
def test_any_file_is_definitions_or_problems(tmp_path, written):
    file = tmp_path / "f.json"
    file.write_text(json.dumps(written))
    try:
        definitions = load([file])
    except DefinitionsError as error:
        assert error.problems
        assert all(LINE.fullmatch(problem) for problem in error.problems), error.problems
        return
    again = tmp_path / "f.yaml"
    again.write_text(export(definitions), encoding="utf-8")
    assert load([again]).jobs == definitions.jobs


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=30))
def test_any_text_survives_an_export(tmp_path, text):
    file = tmp_path / "f.json"
    file.write_text(json.dumps({"jobs": {"a": {"run": {"handler": "x"}, "params": {text: [text]}}}}), encoding="utf-8")
    try:
        definitions = load([file])
    except DefinitionsError as error:
        assert "{{" in text, error.problems
        return
    again = tmp_path / "f.yaml"
    again.write_bytes(export(definitions).encode())
    assert load([again]).jobs == definitions.jobs
