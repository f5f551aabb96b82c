"""Loading files: defaults, chains, folders, and what a set of files is as a whole."""

# ruff: noqa: E501 - a table of texts reads best with one text a line

import json
from datetime import timedelta
from pathlib import Path

import pytest

from scheduler.definitions.export import export
from scheduler.definitions.load import load
from scheduler.errors import DefinitionsError
from schemas.job_spec import JobSpec, NeedSpec
from schemas.vocabulary import CatchUpPolicy, NeedCondition

PAGE = """\
# the example of the manual, as far as it is supported
version: 1
tenant: default
source: backup
defaults:
  timezone: Asia/Tokyo
  timeout: 30m
  retry: {attempts: 3}
jobs:
  dump-db:
    description: Dump the orders database
    run: {command: [pg_dump, -Fc, -f, "{{ params.out }}", orders]}
    params: {out: /backup/orders.dump}
    triggers:
      - cron: "0 2 * * *"
  verify:
    run: {python: "backup_jobs:verify"}
    needs: [dump-db]
  report:
    run: {http: {method: POST, url: "https://hooks.example.com/report", json: {run: "{{ run.id }}"}}}
    needs:
      - {job: verify, when: finished, delay: 5m}
  import-csv:
    run: {script: {file: ./import.sh}}
    triggers:
      - every: 1 month
      - at: ["2026-12-24 18:00", 2027-01-01T00:00:00Z]
        catch_up: {policy: none}
chains:
  nightly: [dump-db, verify]
  weekly: [verify, import-csv]
"""


@pytest.fixture
def write(tmp_path):
    def write_files(**texts):
        for name, text in texts.items():
            (tmp_path / f"{name}.yaml").write_text(text, encoding="utf-8")
        return tmp_path

    return write_files


def minimal(**keys):
    return {"jobs": {"a": {"run": {"handler": "x"}, **keys}}}


def load_one(tmp_path: Path, document: dict, **settings):
    path = tmp_path / "one.json"
    path.write_text(json.dumps(document))
    return load([path], settings=settings)


def test_the_page_loads_resolved(write):
    definitions = load([write(page=PAGE) / "page.yaml"])

    assert (definitions.tenant, definitions.source) == ("default", "backup")
    jobs = definitions.jobs
    assert {spec.timezone for spec in jobs.values()} == {"Asia/Tokyo"}
    assert {spec.retry.attempts for spec in jobs.values()} == {3}
    assert jobs["verify"].needs == (NeedSpec(job="dump-db"),)
    assert jobs["report"].needs == (
        NeedSpec(job="verify", when=NeedCondition.FINISHED, delay=timedelta(minutes=5)),
    )  # fmt: skip
    assert jobs["import-csv"].needs == (NeedSpec(job="verify"),)
    month, at = jobs["import-csv"].triggers
    assert (month.catch_up or jobs["import-csv"].catch_up).policy is CatchUpPolicy.LATEST
    assert (at.catch_up or jobs["import-csv"].catch_up).policy is CatchUpPolicy.NONE
    assert definitions.roots["import-csv"] == ("dump-db", "import-csv")
    assert definitions.roots["report"] == ("dump-db",)


def test_an_export_loads_back_to_the_same_under_other_settings(write, tmp_path):
    definitions = load([write(page=PAGE) / "page.yaml"])
    (tmp_path / "again.yaml").write_text(export(definitions), encoding="utf-8")

    again = load(
        [tmp_path / "again.yaml"], settings={"timezone": "Europe/Berlin", "timeout": {"soft": "1s", "hard": "2s"}}
    )

    assert again.jobs == definitions.jobs
    assert (again.tenant, again.source, again.pools) == (definitions.tenant, definitions.source, definitions.pools)


@pytest.mark.parametrize(
    "word", ["NO", "010", "0o17", "1e5", "~", "12:30", "NaN", " x ", "a\nb\n", "{{ run.id }}", "😀\u2028", "*"]
)
def test_an_export_keeps_words_text(tmp_path, word):
    definitions = load_one(tmp_path, minimal(params={"w": word}, description=word))
    (tmp_path / "again.yaml").write_text(export(definitions), encoding="utf-8", newline="")
    assert load([tmp_path / "again.yaml"]).jobs == definitions.jobs


def test_defaults_merge_deep_over_settings_and_lists_are_replaced(tmp_path):
    document = {
        "defaults": {"timeout": "10m", "retry": {"attempts": 3, "on": ["lost"]}, "tags": ["x"], "env": {"A": "1"}},
        **minimal(timeout={"soft": "5m"}, retry={"on": [1]}, tags=["y"], env={"B": 2}),
    }
    spec = load_one(tmp_path, document, timezone="Asia/Tokyo", timeout={"hard": "1h", "grace": "1s"}).jobs["a"]

    assert spec.timezone == "Asia/Tokyo"
    assert (spec.timeout.soft, spec.timeout.hard, spec.timeout.grace) == (
        timedelta(minutes=5), timedelta(minutes=10), timedelta(seconds=1),
    )  # fmt: skip
    assert (spec.retry.attempts, spec.retry.on) == (3, (1,))
    assert spec.tags == ("y",)
    assert spec.env == {"A": "1", "B": "2"}


def test_a_trigger_lays_its_catch_up_upon_the_jobs(tmp_path):
    triggers = [{"every": "5s", "catch_up": {"policy": "all"}}, {"every": "6s"}]
    spec = load_one(tmp_path, minimal(catch_up={"window": "2d"}, triggers=triggers)).jobs["a"]
    assert ((spec.triggers[0].catch_up or spec.catch_up).policy, (spec.triggers[0].catch_up or spec.catch_up).window) == (
        CatchUpPolicy.ALL, timedelta(days=2),
    )  # fmt: skip
    assert (spec.triggers[1].catch_up or spec.catch_up).policy is CatchUpPolicy.LATEST


def test_a_folder_is_its_files_sorted_and_files_share_one_namespace(write):
    folder = write(
        b="jobs:\n  b: {run: {handler: x}, needs: [a]}\nsource: s\n", a="jobs:\n  a: {run: {handler: x}}\n", c="chains: {x: [b, a2]}\njobs: {a2: {run: {handler: x}}}\n"
    )  # fmt: skip
    (folder / "readme.txt").write_text("not read")
    definitions = load([folder])
    assert [file.name for file in definitions.files] == ["a.yaml", "b.yaml", "c.yaml"]
    assert list(definitions.jobs) == ["a", "b", "a2"]
    assert definitions.jobs["a2"].needs == (NeedSpec(job="b"),)
    assert definitions.source == "s"


@pytest.mark.parametrize(
    ("texts", "lines"),
    [
        (
            {"a": "jobs:\n  x: {run: {handler: x}}\n", "b": "jobs:\n\n  x: {run: {handler: x}}\n"},
            ["b.yaml:3:3: jobs.x: the job is given twice, first in a.yaml:2"],
        ),
        (
            {"a": "tenant: t1\n", "b": "tenant: t2\nsource: s\n", "c": "tenant: t2\nsource: r\n"},
            [
                "b.yaml:1:9: tenant: t2, but a file before it belongs to t1; load the files one by one",
                "c.yaml:2:9: source: r, but a file before it names s; load the files one by one",
            ],
        ),
        ({"a": "- x\n", "b": "jobs: 5\n"}, [
            "a.yaml:1:1: file: must be a mapping with the key jobs; a file begins with version: 1",
            "b.yaml:1:7: jobs: must be a mapping, found 5",
        ]),
    ],
)  # fmt: skip
def test_what_files_say_of_one_another(write, monkeypatch, texts, lines):
    monkeypatch.chdir(write(**texts))
    with pytest.raises(DefinitionsError) as caught:
        load([Path(f"{name}.yaml") for name in texts])
    assert caught.value.problems == lines


def test_what_cannot_be_read_is_named(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DefinitionsError) as caught:
        load([tmp_path / "empty", tmp_path / "gone.yaml", tmp_path / ("x" * 300), Path("/dev/zero")])
    assert caught.value.problems == [
        f"{tmp_path}/empty:1:1: file: the folder holds no file that ends in .yaml, .yml, .json",
        f"{tmp_path}/{'x' * 300}:1:1: file: cannot be read: File name too long",
        f"{tmp_path}/gone.yaml:1:1: file: cannot be read: No such file or directory",
        "/dev/zero:1:1: file: more than 1048576 bytes, which is the most that is read",
    ]


def test_more_jobs_than_allowed_are_refused(write):
    folder = write(big="jobs:\n" + "".join(f"  j{i}: {{run: {{handler: x}}}}\n" for i in range(10_001)))
    with pytest.raises(DefinitionsError, match="more than 10000 jobs"):
        load([folder])


def test_a_loaded_job_survives_the_database(write):
    for spec in load([write(page=PAGE) / "page.yaml"]).jobs.values():
        stored = json.loads(json.dumps(spec.model_dump(mode="json")))
        assert JobSpec.model_validate(stored) == spec
        assert [t.key for t in JobSpec.model_validate(stored).triggers] == [t.key for t in spec.triggers]
