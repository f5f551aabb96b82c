"""Definitions files and modules → Definitions, or all that is wrong with them at once."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from scheduler.definitions.calendars import CalendarEntries
from scheduler.definitions.code_source import SUFFIX, read_code
from scheduler.definitions.entries import Entry, read_entry
from scheduler.definitions.explain import explain
from scheduler.definitions.load_warnings import Loaded, find_warnings
from scheduler.definitions.model import Definitions
from scheduler.definitions.params_checks import check_params
from scheduler.definitions.problems import Place, Problem, show_path
from scheduler.definitions.references import References
from scheduler.definitions.template_checks import check_templates
from scheduler.definitions.webhooks import WebhookEntries
from scheduler.definitions.yaml_source import MAX_BYTES, Document, parse
from scheduler.domain.schedule import TriggerError, check_trigger
from scheduler.domain.zones import zone
from scheduler.errors import DefinitionsError
from schemas.definitions_file import DefinitionsFile, PoolSpec

SUFFIXES: Final = (".yaml", ".yml", ".json")
MAX_JOBS: Final = 10_000


def load(
    paths: Sequence[Path],
    *,
    settings: Mapping[str, Any] | None = None,
    now: datetime | None = None,
    documents: Sequence[Document] = (),
) -> Definitions:
    """Read ``paths``, files or folders (their files by SUFFIXES, sorted), as one set of definitions.

    A ``.py`` file named itself is imported, which runs it, and its ``@job`` functions are taken.

    ``settings`` are job keys from the program's configuration; the defaults of a file go over them.
    Blocking: reads files; 10,000 jobs take seconds. Warnings are looked for as of ``now``; None:
    there are none. ``documents`` are what was read before, after the files.

    Raises:
        DefinitionsError: with every problem, ordered by file and line.
    """
    loading = _Loading(settings or {})
    files = list(loading.find(paths))
    for file in files:
        loading.read(file)
    for document in documents:
        loading.take(document)
    loading.check()
    if loading.problems:
        wrong = _in_order(loading.problems, files)
        raise DefinitionsError(list(map(str, wrong)), [problem.detail() for problem in wrong])
    tenant = loading.tenant or "default"
    warnings = find_warnings(Loaded(tenant, loading.entries, now, loading.calendars)) if now is not None else []
    return Definitions(
        tenant=tenant,
        source=loading.source,
        jobs={name: entry.spec for name, entry in loading.entries.items() if entry.spec},
        pools=loading.pools,
        files=tuple(files),
        warnings=tuple(_in_order(warnings, files)),
        calendars=loading.calendars.specs,
        webhooks=loading.webhooks.specs,
    )


class _Loading:
    """One call of load: what was read so far, and what is wrong with it."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self.settings = settings
        self.problems: list[Problem] = []
        self.entries: dict[str, Entry] = {}
        self.tenant: str | None = None
        self.source: str | None = None
        self.pools: dict[str, PoolSpec] = {}
        self.calendars = CalendarEntries()
        self.webhooks = WebhookEntries()
        self.chains: list[tuple[Document, Mapping[str, tuple[str, ...]]]] = []

    def find(self, paths: Sequence[Path]) -> Iterator[Path]:
        for path in dict.fromkeys(paths):
            try:
                found = _files_in(path)
            except OSError as error:
                self.problem(str(path), f"cannot be read: {error.strerror}")
                continue
            if not found:
                self.problem(str(path), f"the folder holds no file that ends in {', '.join(SUFFIXES)}")
            yield from found

    def problem(self, file: str, message: str) -> None:
        self.problems.append(Problem(file, Place(), "file", message))

    def read(self, file: Path) -> None:
        document = self.document_of(file)
        if document is not None:
            self.take(document)

    def take(self, document: Document) -> None:
        self.problems += document.problems
        if isinstance(document.value, dict):
            self.read_top(document)
            self.read_jobs(document)
        elif document.value is not None or not document.problems:
            self.problem(document.file, "must be a mapping with the key jobs; a file begins with version: 1")

    def document_of(self, file: Path) -> Document | None:
        if file.suffix == SUFFIX and file.is_file():
            return read_code(file)
        try:
            with file.open("rb") as opened:
                data = opened.read(MAX_BYTES + 1)
        except OSError as error:
            self.problem(str(file), f"cannot be read: {error.strerror}")
            return None
        return parse(data, str(file))

    def read_top(self, document: Document) -> None:
        wrong: set[str | int] = set()
        try:
            top = DefinitionsFile.model_validate(document.value)
        except ValidationError as error:
            for complaint in explain(error, DefinitionsFile):
                place = document.nearest(complaint.path, key=complaint.on_key)
                path = show_path(complaint.path)
                self.problems.append(Problem(document.file, place, path, complaint.message, complaint.allowed))
                wrong.add(complaint.path[0])
            top = DefinitionsFile.model_validate({k: v for k, v in document.value.items() if k not in wrong})
        self.agree(document, top)
        self.chains.append((document, top.chains))
        self.pools |= top.pools
        self.problems += self.calendars.add(document, top.calendars, readable="calendars" not in wrong)
        self.problems += self.webhooks.add(document, top.webhooks, readable="webhooks" not in wrong)

    def agree(self, document: Document, top: DefinitionsFile) -> None:
        """Files given together belong to one tenant and one source."""
        if self.tenant not in {None, top.tenant}:
            message = f"{top.tenant}, but a file before it belongs to {self.tenant}; load the files one by one"
            self.problems.append(Problem(document.file, document.nearest(("tenant",)), "tenant", message))
        if top.source and self.source not in {None, top.source}:
            message = f"{top.source}, but a file before it names {self.source}; load the files one by one"
            self.problems.append(Problem(document.file, document.nearest(("source",)), "source", message))
        self.tenant = top.tenant
        self.source = top.source or self.source

    def read_jobs(self, document: Document) -> None:
        jobs = document.value.get("jobs")
        if not isinstance(jobs, dict):
            return
        for name in jobs:
            first = self.entries.get(name)
            if first is not None:
                place = document.nearest(("jobs", name), key=True)
                line = first.document.nearest(first.path, key=True).line
                message = f"the job is given twice, first in {first.document.file}:{line}"
                self.problems.append(Problem(document.file, place, show_path(("jobs", name)), message))
            elif len(self.entries) == MAX_JOBS:
                self.problem(document.file, f"more than {MAX_JOBS} jobs")
                return
            else:
                self.entries[name], problems = read_entry(name, document, self.settings)
                self.problems += problems

    def check(self) -> None:
        """Check what one job alone does not show, and what is more than form."""
        references = References(self.entries)
        for document, chains in self.chains:
            self.problems += references.add_chains(document, chains)
        self.problems += references.check_needs()
        self.problems += references.check_cycles()
        self.problems += self.calendars.check()
        for entry in self.entries.values():
            self.problems += _times(entry, self.calendars)
            self.problems += self.webhooks.check(entry)
            if entry.spec is not None:
                self.problems += [entry.spec_problem(*found) for found in check_templates(entry.spec)]
                self.problems += [entry.spec_problem(*found) for found in check_params(entry.spec)]


def _in_order(problems: Iterable[Problem], files: Sequence[Path]) -> list[Problem]:
    """Return the problems by file and line; of several at one place the first, which is the cause."""
    order = {str(file): number for number, file in enumerate(files)}
    at_place: dict[tuple[int, str, Place, str], Problem] = {}
    for problem in problems:
        file = problem.file or ""
        place = (order.get(file, -1), file, problem.place, problem.path)
        at_place.setdefault(place, problem)
    return list({str(at_place[place]): at_place[place] for place in sorted(at_place)}.values())


def _files_in(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    return sorted(file for file in path.iterdir() if file.suffix in SUFFIXES and file.is_file())


def _times(entry: Entry, calendars: CalendarEntries) -> Iterator[Problem]:
    """Yield what is wrong with the job's time zone and triggers."""
    if entry.spec is None:
        return
    wrong_zone = _zone_problem(entry.spec.timezone)
    if wrong_zone:
        yield entry.problem(("timezone",), wrong_zone)
    for index, trigger in enumerate(entry.spec.triggers):
        wrong = _zone_problem(trigger.timezone) if trigger.timezone else None
        if wrong:
            yield entry.spec_problem(("triggers", index, "timezone"), wrong)
        if (unknown := calendars.check_trigger(trigger)) is not None:
            yield entry.spec_problem(("triggers", index, *unknown[0]), unknown[1])
            continue
        known = trigger.timezone if trigger.timezone and not wrong else entry.spec.timezone
        usable = "UTC" if known == entry.spec.timezone and wrong_zone else known
        try:
            check_trigger(trigger, timezone=usable, calendars=calendars.known)
        except TriggerError as error:
            yield entry.spec_problem(("triggers", index, error.key), str(error))
        except ValueError as error:
            yield entry.spec_problem(("triggers", index, trigger.kind.value), str(error))


def _zone_problem(name: str) -> str | None:
    try:
        zone(name)
    except ValueError as error:
        return str(error)
    return None
