"""What the pages say is there is there: paths, commands, log names, generated pages, examples."""

import importlib.util
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from pydantic import BaseModel

from scheduler.cli.main import command_line, hoisted
from scheduler.definitions.load import load
from schemas.definitions_file import DefinitionsFile
from schemas.job_spec import (
    AtTrigger,
    CatchUpSpec,
    CronTrigger,
    EveryTrigger,
    HttpSpec,
    JobSpec,
    NeedSpec,
    RetrySpec,
    RunSpec,
    ScriptSpec,
    TimeoutSpec,
)
from schemas.run_spec import PublishSpec
from schemas.trigger_spec import TRIGGER_KINDS

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]
FOLDERS = "schemas|scheduler|actors|tests|docs|examples|scripts|benchmarks"

_LINK = re.compile(r"\]\((?!https?://|#|mailto:)([^)#\s]+)")
_PATH = re.compile(rf"`((?:{FOLDERS})/[\w./*-]*)`")
_CODE = re.compile(r"```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)
_MESSAGE = re.compile(r"\b[a-z]+\.(?!py\b)[a-z]+\b")
_SPAN = re.compile(r"`([^`]+)`")


def blocks(page: Path, language: str) -> list[str]:
    return [text for kind, text in _CODE.findall(page.read_text(encoding="utf-8")) if kind == language]


def commands(page: Path) -> Iterator[list[str]]:
    """Yield the words of each `scheduler …` on the page, in blocks and in running text."""
    text = page.read_text(encoding="utf-8")
    lines = [line for block in blocks(page, "sh") for line in re.split(r"\n|&&", block)]
    spans = [" ".join(span.split()) for span in _SPAN.findall(_CODE.sub("", text))]
    for found in [*lines, *spans]:
        line = found.partition("  #")[0].strip().removeprefix(".venv/bin/")
        if line.startswith("docker compose exec"):
            line = line.split(maxsplit=4)[4]
        if line.startswith("scheduler "):
            yield shlex.split(line.replace("|", " ").replace("…", ""))[1:]


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_links_and_paths_lead_somewhere(page):
    text = page.read_text(encoding="utf-8")
    missing = [link for link in _LINK.findall(text) if not (page.parent / link).exists()]
    missing += [path for path in _PATH.findall(text) if not list(ROOT.glob(path.rstrip("/")))]

    assert [] == missing


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_commands_and_their_options_exist(page):
    unknown = []
    for words in commands(page):
        command = command_line()
        for word in hoisted(words):
            options = {
                option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)
            }
            if word.startswith("--"):
                everywhere = {option for parameter in command_line().params for option in parameter.opts}
                if word.partition("=")[0] not in options | everywhere:
                    unknown.append(" ".join(words))
            elif hasattr(command, "commands") and word in command.commands:
                command = command.commands[word]
            elif hasattr(command, "commands"):
                unknown.append(" ".join(words))

    assert [] == unknown


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_make_targets_exist(page):
    text = page.read_text(encoding="utf-8")
    targets = set(re.findall(r"`make (\w+)", text)) | set(re.findall(r"^make (\w+)", text, re.MULTILINE))
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")

    assert set() == {target for target in targets if f"\n{target}:" not in makefile}


@pytest.mark.parametrize(
    ("page", "text"),
    [(name, text) for name, page in zip(NAMES, PAGES, strict=True) for text in blocks(page, "yaml")],
)
def test_examples_of_definitions_load(page, text, tmp_path):
    file = tmp_path / "jobs.yaml"
    file.write_text(text, encoding="utf-8")

    assert load([file]).jobs


def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_generate", ROOT / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["docs/run-states.md", "docs/topology.md", "docs/metrics.md"])
def test_generated_pages_are_current(name):
    """Written by: python docs/generate.py."""
    assert generator().PAGES[name]() == (ROOT / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["ticker", "dispatcher", "executor", "recorder", "watcher"])
def test_the_table_of_actors_says_what_they_say_of_themselves(name):
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    row = next(line for line in page.splitlines() if f"actors/{name}.py" in line).split("|")
    module = (ROOT / "actors" / f"{name}.py").read_text(encoding="utf-8").split('"""')[1]

    for column, word in ((2, "Hears"), (3, "Says")):
        line = re.search(rf"^{word} +(.*)$", module, re.MULTILINE)
        assert line is not None
        assert set(_MESSAGE.findall(line[1])) == set(_MESSAGE.findall(row[column]))


def fields(model: type[BaseModel]) -> set[str]:
    return {info.alias or name for name, info in model.model_fields.items()}


@pytest.mark.parametrize(
    "model",
    [DefinitionsFile, JobSpec, RunSpec, ScriptSpec, HttpSpec, PublishSpec, NeedSpec, TimeoutSpec, RetrySpec,
     CatchUpSpec, CronTrigger, EveryTrigger, AtTrigger],
)  # fmt: skip
def test_every_key_of_the_definitions_file_is_explained(model):
    page = (ROOT / "docs" / "definitions.md").read_text(encoding="utf-8")

    assert set() == {key for key in fields(model) if not re.search(rf"\b{key}\b", page)}


def test_log_names_of_the_page_are_those_of_the_program():
    page = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8").partition("## Logs")[2]
    told = {name for row in re.findall(r"^\| (`.*?) \|", page, re.MULTILINE) for name in _SPAN.findall(row)}
    sources = [path for folder in ("actors", "scheduler") for path in (ROOT / folder).rglob("*.py")]
    program = "\n".join(path.read_text(encoding="utf-8") for path in sources)

    assert told
    assert set() == {name for name in told if f'"{name}"' not in program}


def test_crash_points_of_the_page_exist():
    page = (ROOT / "docs" / "crash-safety.md").read_text(encoding="utf-8")
    points = re.findall(r"CRASH_AT=([\w.]+)", page)
    actors = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "actors").rglob("*.py"))

    assert points
    assert [] == [point for point in points if f'crash_point("{point}")' not in actors]


def test_the_limits_name_the_triggers_that_there_are() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    said = text.partition("- Triggers are ")[2].partition(";")[0]

    assert set(TRIGGER_KINDS) == set(_SPAN.findall(said))
