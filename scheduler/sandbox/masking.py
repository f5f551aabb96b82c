"""Takes the values of secrets out of what a job hands back, before anything is sent, stored or shown."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from scheduler.domain.secret_forms import LEAST_CHARS, forms_of
from scheduler.logs import MASK
from scheduler.ports import Ended
from schemas.facts import Output


class Mask:
    """Knows the values of one order's secrets, in the forms that programs print them in.

    These are the value itself, its lines, and the value as JSON, URL-encoded, and in base64 at any
    place of a longer text (``Authorization: Basic``). What a job does to a secret beyond that, such
    as spelling it backwards, is not recognised.
    """

    def __init__(self, values: Iterable[str]) -> None:
        forms = {form for value in values for form in forms_of(value)}
        self._forms = sorted(forms, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, self._forms))) if forms else None

    def text(self, text: str) -> str:
        """Return ``text`` with every form of every value replaced."""
        return text if self._pattern is None else self._pattern.sub(MASK, text)

    def unsettled(self, text: str) -> int:
        """Return how many characters at the end of ``text`` may be the beginning of a value: no end is told yet."""
        start = len(text) - max((_begun(text, form) for form in self._forms), default=0)
        if self._pattern is None or start == len(text):
            return 0
        # A value that repeats itself may end in its own beginning: it is not cut there.
        return len(text) - min(
            [start, *(at[0] for at in map(re.Match.span, self._pattern.finditer(text)) if start < at[1])]
        )

    def begun_before(self, text: str) -> str:
        """Return ``text`` without the end of a value whose beginning was cut off."""
        return self._without_ended(text)

    def ended(self, ended: Ended) -> Ended:
        """Return the end of an attempt with all its texts masked, the keys of its result included."""
        if self._pattern is None:
            return ended
        return replace(
            ended,
            reason=None if ended.reason is None else self.text(ended.reason),
            exception=None if ended.exception is None else self.text(ended.exception),
            result=self._value(ended.result),
            output=None if ended.output is None else self._output(ended.output),
            metrics=None if ended.metrics is None else self._metrics(ended.metrics),
        )

    def _metrics(self, metrics: Mapping[str, float]) -> dict[str, float]:
        return {name: value for name, value in metrics.items() if self.text(name) == name}

    def _value(self, value: Any) -> Any:
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return {self.text(key): self._value(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self._value(item) for item in value]
        return value

    def _output(self, output: Output) -> Output:
        head, tail = output.head, output.tail
        if tail:  # it was cut: perhaps in the middle of a value
            head, tail = self._without_begun(head), self._without_ended(tail)
        return Output(head=self.text(head), tail=self.text(tail), total_bytes=output.total_bytes)

    def _without_begun(self, head: str) -> str:
        for form in self._forms:
            for size in range(min(len(form) - 1, len(head)), LEAST_CHARS - 1, -1):
                if head.endswith(form[:size]):
                    return head[:-size] + MASK
        return head

    def _without_ended(self, tail: str) -> str:
        for form in self._forms:
            for size in range(min(len(form) - 1, len(tail)), LEAST_CHARS - 1, -1):
                if tail.startswith(form[-size:]):
                    return MASK + tail[size:]
        return tail


def _begun(text: str, form: str) -> int:
    """Return the length of the longest end of ``text`` that is a beginning of ``form``, and not all of it."""
    first, at = form[:LEAST_CHARS], max(0, len(text) - len(form) + 1)
    while (at := text.find(first, at)) >= 0:
        if form.startswith(text[at:]):
            return len(text) - at
        at += 1
    return next((size for size in range(LEAST_CHARS - 1, 0, -1) if text.endswith(form[:size])), 0)
