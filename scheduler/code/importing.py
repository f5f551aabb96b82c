"""Imports users' modules, by name or from a file, and says where one of them fails."""

import importlib
import importlib.util
import sys
import traceback
from importlib.machinery import PathFinder
from pathlib import Path
from types import ModuleType

from scheduler.errors import ConfigurationError

_OWN_FILES = ("<frozen importlib", f"{Path(__file__).parents[1]}/")


def import_below(module: str, code_dir: Path | None, *, what: str) -> ModuleType:
    """Import a module given by name or as a path to a ``.py`` file, looked up below ``code_dir`` first.

    ``what`` it is for is said in errors. A file imported before is not imported again.

    Raises:
        ConfigurationError: not found, failed to import (with file and line), or another module of its name is loaded.
    """
    folder = str(code_dir.resolve()) if code_dir is not None else None
    if folder is not None:
        sys.path.insert(0, folder)
    importlib.invalidate_caches()
    try:
        if module.endswith(".py"):
            return _import_file(_path_of(module, code_dir, what))
        if folder is not None:
            _refuse_namesake(module.partition(".")[0], folder, what)
        return importlib.import_module(module)
    except ConfigurationError:
        raise
    except (Exception, SystemExit) as error:
        place = _place_of(error) or module
        raise ConfigurationError(f"{place}: cannot load {what}: {type(error).__name__}: {error}") from error
    finally:
        if folder is not None:  # last: a user's random.py must not replace what the executor imports later
            sys.path.remove(folder)
            if folder not in sys.path:
                sys.path.append(folder)


def _refuse_namesake(name: str, folder: str, what: str) -> None:
    """Raise when Python would give the module ``name`` that is loaded already, and ``folder`` has another one."""
    loaded, meant = sys.modules.get(name), PathFinder.find_spec(name, [folder])
    if loaded is None or meant is None or meant.origin is None:
        return
    there = getattr(loaded, "__file__", None)
    if there is None or Path(there).resolve() != Path(meant.origin).resolve():
        raise ConfigurationError(
            f"{meant.origin}: cannot load {what}: a module {name} is loaded already, from {there or 'Python itself'}; "
            f"rename one of them, or give the path of the file instead of its name"
        )


def _path_of(module: str, code_dir: Path | None, what: str) -> Path:
    for path in ((code_dir or Path()) / module, Path(module)):
        if path.is_file():
            return path.resolve()
    raise ConfigurationError(f"there is no file {module} with {what}")


def _import_file(path: Path) -> ModuleType:
    loaded = sys.modules.get(path.stem)
    if loaded is not None and getattr(loaded, "__file__", None) == str(path):
        return loaded
    name = path.stem if loaded is None else f"{path.stem}_{abs(hash(path)):x}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ConfigurationError(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _place_of(error: BaseException) -> str | None:
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}:{error.lineno}"
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not frame.filename.startswith(_OWN_FILES)]
    frames = [frame for frame in frames if f"{importlib.__name__}/__init__" not in frame.filename]
    return f"{frames[-1].filename}:{frames[-1].lineno}" if frames else None
