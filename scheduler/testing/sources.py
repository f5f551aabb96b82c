"""What a test hands over as jobs → definitions, and the functions behind them."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from scheduler.code.importing import import_below
from scheduler.code.job import jobs_among
from scheduler.definitions.code_source import SUFFIX, fill
from scheduler.definitions.load import load
from scheduler.definitions.model import Definitions
from scheduler.definitions.yaml_source import Document

Source = ModuleType | Callable[..., Any] | str | Path
"""A module with @job functions, such a function, or a definitions file."""


def read_sources(sources: Sequence[Source]) -> tuple[Definitions, Mapping[str, Callable[..., Any]]]:
    """Return the definitions, and by job its function.

    Raises:
        DefinitionsError: with all that is wrong.
        ConfigurationError: a module cannot be imported.
    """
    files: list[Path] = []
    documents: list[Document] = []
    loose: list[object] = []
    found: list[object] = []
    for source in sources:
        if isinstance(source, str | Path) and Path(source).suffix != SUFFIX:
            files.append(Path(source))
        elif isinstance(source, str | Path):
            path = Path(source)
            found += _take(documents, import_below(str(path.resolve()), path.parent, what="jobs"))
        elif isinstance(source, ModuleType):
            found += _take(documents, source)
        else:
            loose.append(source)
    if loose:
        documents.append(Document("functions"))
        fill(documents[-1], loose, "")
    functions = {mark.name: mark.function for mark in jobs_among([*found, *loose])}
    return load(files, documents=documents), functions


def _take(documents: list[Document], module: ModuleType) -> list[object]:
    values = list(vars(module).values())
    documents.append(Document(getattr(module, "__file__", None) or module.__name__))
    fill(documents[-1], values, module.__name__)
    return values
