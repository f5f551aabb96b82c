"""Logging: one line per fact, JSON for machines or console for people, without secrets.

The message is a stable name such as ``run.settled``; everything else is in keys. Names are API:
tests and operators wait for them. Output goes to standard output at the moment of writing, so that
a live display may take it over.
"""

import logging
import re
import sys
from collections.abc import Iterable, MutableMapping, Sequence
from typing import Any, Final, Literal, Protocol
from urllib.parse import unquote, urlsplit

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from scheduler.clock import Clock
from scheduler.domain.secret_forms import forms_of

LogFormat = Literal["auto", "json", "console"]


class CountLines(Protocol):
    """Told the name and the level of lines that were written, and how many."""

    def __call__(self, name: str, level: str, count: int = 1, /) -> None: ...


MASK: Final = "***"
_MIN_SECRET: Final = 8
"""Shorter values are not searched for: they would mask ordinary words."""
_ACCOUNT: Final = re.compile(r"://[^\s/@\"']+@")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
_FIRST_KEYS: Final = ("timestamp", "level", "logger", "message")
_SENSITIVE_KEYS: Final = re.compile(r"passw|secret|token|api_?key|authorization|cookie", re.IGNORECASE)


class Redactor:
    """Masks known secret values in every form that is foreseen, and accounts in URLs."""

    def __init__(self) -> None:
        self._signs: Sequence[str] = ()
        self._known: re.Pattern[str] | None = None

    def learn(self, secrets: Iterable[str]) -> None:
        """Mask these values from now on, and the password in each that is a URL."""
        forms: set[str] = set()
        for secret in secrets:
            password = unquote(urlsplit(secret).password or "") if "://" in secret else secret
            forms.update(form for plain in (secret, password) if len(plain) >= _MIN_SECRET for form in forms_of(plain))
        longest_first = sorted(forms, key=len, reverse=True)
        self._known = re.compile("|".join(map(re.escape, longest_first))) if forms else None
        self._signs = [form for form in forms if not any(other in form for other in forms - {form})]

    def __call__(self, line: str) -> str:
        # Looking for a few texts is many times faster than the pattern, and most lines hold none.
        if self._known is not None and any(sign in line for sign in self._signs):
            line = self._known.sub(MASK, line)
        return _ACCOUNT.sub(f"://{MASK}@", line) if "://" in line else line


def printable(text: str) -> str:
    """Return ``text`` with control characters, which a terminal would obey, written as escapes."""
    return _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def configure(
    clock: Clock,
    *,
    level: str,
    log_format: LogFormat,
    secrets: Iterable[str] = (),
    each_run: bool = True,
    on_line: CountLines | None = None,
) -> None:
    """Set up logging of this process; also what libraries log with the standard module.

    ``each_run`` is for :mod:`scheduler.run_lines`. ``on_line`` is told name and level of each line of ours, for
    counting.
    """
    console = sys.stdout.isatty() if log_format == "auto" else log_format == "console"
    redact = Redactor()
    redact.learn(secrets)
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        _Timestamp(clock),
        structlog.processors.StackInfoRenderer(),
    ]
    last = _console_chain() if console else _json_chain()
    threshold = logging.getLevelNamesMapping()[level.upper()]
    structlog.configure(
        processors=[
            *shared,
            structlog.processors.CallsiteParameterAdder({structlog.processors.CallsiteParameter.MODULE}),
            _name_logger,
            *([] if on_line is None else [_Told(on_line)]),
            _mask_keys,
            *last,
            _finish(redact),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=lambda *_: _Output(),
        cache_logger_on_first_use=True,
    )
    _state.each_run = each_run
    _state.threshold = threshold
    _state.block = None if console else Block(clock, redact, on_line)
    _configure_libraries([*shared, structlog.stdlib.add_logger_name], [_mask_keys, *last, _finish(redact)], threshold)


def _configure_libraries(first: list[Processor], then: list[Processor], threshold: int) -> None:
    """Send what libraries log with the standard module the same way, from warnings on."""
    handler = logging.StreamHandler(_Output())
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=first, processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *then]
        )
    )
    logging.basicConfig(handlers=[handler], level=max(threshold, logging.WARNING), force=True)


class Block:
    """Many JSON lines in one write: what lines about single runs would cost one by one is several times as much."""

    def __init__(self, clock: Clock, redact: Redactor, on_line: CountLines | None) -> None:
        self._clock = clock
        self._redact = redact
        self._on_line = on_line

    def write(self, name: str, level: str, logger: str, bodies: Sequence[str]) -> None:
        """Write a line for each of ``bodies``, the inside of its object but for what all lines begin with."""
        head = f'{{"timestamp": "{stamp(self._clock)}", "level": "{level}", "logger": "{logger}", "message": "{name}", '
        sys.stdout.write(self._redact("".join([f"{head}{body}}}\n" for body in bodies])))
        sys.stdout.flush()
        if self._on_line is not None:
            self._on_line(name, level, len(bodies))


class _State:
    """How this process logs runs, from ``configure``; until then as structlog does by itself."""

    each_run = True
    threshold = logging.NOTSET
    block: Block | None = None


_state: Final = _State()


def current() -> _State:
    """Return how this process logs runs."""
    return _state


def stamp(clock: Clock) -> str:
    """Return now as RFC 3339 in UTC with milliseconds."""
    return clock.now().isoformat(timespec="milliseconds").replace("+00:00", "Z")


class _Output:
    """Standard output of the moment, as a logger and as a stream."""

    def msg(self, line: str) -> None:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()

    debug = info = warning = error = critical = exception = fatal = log = msg

    def write(self, text: str) -> None:
        sys.stdout.write(text)

    def flush(self) -> None:
        sys.stdout.flush()


class _Timestamp:
    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def __call__(self, _logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        event["timestamp"] = stamp(self._clock)
        return event


class _Told:
    def __init__(self, on_line: CountLines) -> None:
        self._on_line = on_line

    def __call__(self, _logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        self._on_line(str(event.get("event")), str(event.get("level")))
        return event


def _finish(redact: Redactor) -> Processor:
    """Return the last word on a line, so that nothing rendered escapes it."""

    def finish(_logger: WrappedLogger, _method: str, line: Any) -> str:
        return redact(str(line))

    return finish


def _json_chain() -> list[Processor]:
    return [
        structlog.processors.format_exc_info,
        structlog.processors.EventRenamer("message"),
        _in_order,
        structlog.processors.JSONRenderer(ensure_ascii=False, default=str),
    ]


def _console_chain() -> list[Processor]:
    return [
        _escape,
        structlog.dev.ConsoleRenderer(
            colors=sys.stdout.isatty(), exception_formatter=structlog.dev.plain_traceback, pad_event_to=24
        ),
    ]


def _name_logger(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    module = event.pop("module", None)
    event.setdefault("logger", module)
    return event


def _in_order(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    first = {key: event[key] for key in _FIRST_KEYS if key in event}
    return {**first, **event}


def _mask_keys(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    return {key: _masked(key, value) for key, value in event.items()}


def _masked(key: str, value: Any) -> Any:
    if value is not None and _SENSITIVE_KEYS.search(key):
        return MASK
    if isinstance(value, MutableMapping):
        return {name: _masked(str(name), inner) for name, inner in value.items()}
    return value


def _escape(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    return {
        key: printable(value) if isinstance(value, str) and key != "stack" else value for key, value in event.items()
    }
