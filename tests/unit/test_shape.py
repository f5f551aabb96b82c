"""The shape of the repository: what a reviewer would otherwise have to look for each time."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("schemas", "scheduler", "actors")
LONGEST_FILE = 300
BANNED_STEMS = {"util", "utils", "helper", "helpers", "common", "manager", "managers", "misc"}
# Written in pieces, so that this file does not find itself.
FORBIDDEN = {
    "the address of a package registry": r"pypi\."
    r"(org|python)|files\.python"
    r"hosted|--(extra-)?index"
    r"-url[ =]\S",
    "a path of one machine": r"(?<![\w.])/(home|root|Users)/[\w.-]+/[\w.]+",
}
BINARY = {".png", ".gif", ".ico", ".woff2", ".gz"}


def tracked() -> list[Path]:
    """Files under version control; in an unpacked source archive, all that belongs to one."""
    listed = subprocess.run(
        ["git", "-c", "safe.directory=*", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if listed.returncode == 0 and listed.stdout:
        return [path for name in listed.stdout.split("\0") if name and (path := ROOT / name).is_file()]
    return [path for folder in (*PACKAGES, "tests") for path in (ROOT / folder).rglob("*") if path.is_file()]


def sources() -> list[Path]:
    return sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


def text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def test_no_source_file_is_longer_than_a_reader_can_hold():
    lengths = {str(path.relative_to(ROOT)): text_of(path).count("\n") for path in sources()}

    assert {} == {name: length for name, length in lengths.items() if length > LONGEST_FILE}


def test_no_file_is_named_after_nothing():
    assert [] == [str(path) for path in tracked() if path.stem in BANNED_STEMS]


def test_base_is_the_name_of_one_module_only():
    assert {"actors/base.py"} >= {str(path.relative_to(ROOT)) for path in sources() if path.stem == "base"}


@pytest.mark.parametrize("what", FORBIDDEN)
def test_no_tracked_file_holds(what: str):
    pattern = re.compile(FORBIDDEN[what])
    texts = {path: text_of(path) for path in tracked() if path.suffix not in BINARY}

    assert [] == [f"{path}: {found[0]}" for path, text in texts.items() if (found := pattern.search(text))]


@pytest.mark.parametrize("name", ["runtime", "dev", "build"])
def test_every_requirement_is_pinned_and_hashed(name: str):
    """One requirement without a hash makes pip refuse the file; one without a pin makes two machines differ."""
    unfolded = text_of(ROOT / f"requirements/{name}.txt").replace("\\\n", " ")
    lines = [line for line in unfolded.splitlines() if line.strip() and not line.lstrip().startswith("#")]

    assert lines
    assert [] == [line for line in lines if not re.match(r"[\w.\-]+==\S+( ;.*?)? .*--hash=sha256:[0-9a-f]{64}", line)]


def test_dev_requirements_pin_what_runs_in_production_to_the_same_versions():
    def pins(name: str) -> set[str]:
        return set(re.findall(r"^[\w.\-]+==\S+", text_of(ROOT / f"requirements/{name}.txt"), re.MULTILINE))

    assert set() == pins("runtime") - pins("dev")


def test_every_package_is_marked_as_typed():
    assert [] == [package for package in PACKAGES if not (ROOT / package / "py.typed").is_file()]


def test_the_scheduler_package_imports_nothing_when_it_is_imported():
    """Or actors -> scheduler -> actors would become a cycle."""
    code = text_of(ROOT / "scheduler/__init__.py")

    assert [] == [line for line in code.splitlines() if line.startswith(("import ", "from "))]
