"""What a job raised, as text for people: class name, one line, a short traceback without locals."""

import traceback
from pathlib import Path
from types import TracebackType

from scheduler.sandbox.results import MOST_BASES

_OWN_FOLDER = str(Path(__file__).parent)
_FRAMES = 10
_CHARS = 8 * 1024


def raised_line(error: BaseException) -> str:
    """Return ``ClassName: message``; an exception that cannot be shown does no harm."""
    try:
        message = str(error)
    except Exception:  # noqa: BLE001 - a job's exception may raise anything when it is shown
        message = "(its text cannot be shown)"
    return f"{type(error).__name__}: {message}" if message else type(error).__name__


def bases_of(error: BaseException) -> tuple[str, ...]:
    """Return the names of the classes that the class of ``error`` is derived from, nearest first."""
    return tuple(base.__name__ for base in type(error).__mro__[1:-1])[:MOST_BASES]


def short_traceback(error: BaseException) -> str:
    """Return the last ten frames of the job's own code, at most 8 KiB."""
    try:
        shown = traceback.TracebackException(
            type(error), error, _job_frames(error.__traceback__), limit=-_FRAMES, compact=True
        )
        text = "".join(shown.format())
    except Exception:  # noqa: BLE001 - see raised_line
        text = raised_line(error)
    return text if len(text) <= _CHARS else text[: _CHARS // 2] + "\n…\n" + text[-_CHARS // 2 :]


def _job_frames(frames: TracebackType | None) -> TracebackType | None:
    own = frames
    while own is not None and own.tb_frame.f_code.co_filename.startswith(_OWN_FOLDER):
        own = own.tb_next
    return own or frames
