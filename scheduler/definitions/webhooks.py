"""The ``webhooks`` of definitions files, and what triggers say of events that cannot be."""

from collections.abc import Iterator, Mapping

from scheduler.definitions.entries import Entry
from scheduler.definitions.problems import Path, Problem, show_path, suggest
from scheduler.definitions.yaml_source import Document
from scheduler.domain.matching import compile_where
from scheduler.domain.watching import parts_of
from schemas.event_trigger import EventTriggerModel, WebhookTrigger
from schemas.webhook_spec import WebhookSpec


class WebhookEntries:
    """The endpoints of all files by name."""

    def __init__(self) -> None:
        self.specs: dict[str, WebhookSpec] = {}
        self._documents: dict[str, Document] = {}
        self._unreadable = False

    def add(self, document: Document, specs: Mapping[str, WebhookSpec], *, readable: bool) -> Iterator[Problem]:
        """Take the endpoints of one file; not ``readable``: others of its endpoints are wrong and said to be."""
        self._unreadable |= not readable
        for name, spec in specs.items():
            if name in self.specs:
                first = self._documents[name]
                line = first.nearest(("webhooks", name), key=True).line
                place = document.nearest(("webhooks", name), key=True)
                message = f"the webhook is given twice, first in {first.file}:{line}"
                yield Problem(document.file, place, show_path(("webhooks", name)), message)
            else:
                self.specs[name] = spec
                self._documents[name] = document

    def check(self, entry: Entry) -> Iterator[Problem]:
        """Yield what is wrong with the triggers of a job that wait for events."""
        for index, trigger in enumerate(entry.spec.triggers if entry.spec else ()):
            for part, spec in parts_of(trigger):
                path: Path = ("triggers", index) if part is None else ("triggers", index, trigger.kind.value, part)
                yield from self._check(entry, path, spec)
                if part == 0 and isinstance(trigger, EventTriggerModel):
                    yield from _check_where(entry, ("triggers", index), trigger)

    def _check(self, entry: Entry, path: Path, spec: EventTriggerModel) -> Iterator[Problem]:
        if isinstance(spec, WebhookTrigger) and spec.webhook not in self.specs and not self._unreadable:
            known = suggest(spec.webhook, self.specs) if self.specs else "the files have no webhooks"
            yield entry.spec_problem((*path, "webhook"), f"there is no webhook {spec.webhook}; {known}")
        yield from _check_where(entry, path, spec)


def _check_where(entry: Entry, path: Path, spec: EventTriggerModel) -> Iterator[Problem]:
    if spec.where is not None:
        try:
            compile_where(spec.where)
        except ValueError as error:
            yield entry.spec_problem((*path, "where"), str(error))
