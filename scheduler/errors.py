"""The error tree; the class of an error decides what is done about it.

SchedulerError
├─ CallerError            the request is wrong: say so, never retry
│  ├─ NotFoundError          there is no such thing                          exit 3
│  │  └─ ForeignError           it is another tenant's, which the caller must not learn
│  ├─ ConflictError          it cannot be done in the present state          exit 4
│  ├─ DefinitionsError       the definitions file is wrong                   exit 65
│  │  └─ InvalidParamsError     params do not fit the job's params_schema
│  ├─ NotPermittedError      the caller may not                              exit 77
│  └─ ConfigurationError     the settings or the environment are wrong       exit 78
├─ TransientError         the world is unwell: retry with backoff            exit 69
│  ├─ BrokerUnavailableError
│  ├─ DatabaseUnavailableError
│  └─ SessionLostError       the broker session ended; deliveries in hand come again
└─ PoisonError            this message can never be handled: bury it
"""

from collections.abc import Mapping, Sequence
from typing import ClassVar


class SchedulerError(Exception):
    """Root of all errors of ours. ``exit_code`` is what a command ends with."""

    exit_code: ClassVar[int] = 1
    code: ClassVar[str] = "error"
    """Stable name of the error for programs; the text is not stable."""


class CallerError(SchedulerError):
    code = "caller_error"


class NotFoundError(CallerError):
    exit_code = 3
    code = "not_found"


class ForeignError(NotFoundError):
    """What the caller asks for is another tenant's. To the caller it is not there; the audit log knows better."""


class ConflictError(CallerError):
    exit_code = 4
    code = "conflict"


class DefinitionsError(CallerError):
    """One or more problems in definitions files, each a line ``file:line:col: path: what, allowed``.

    ``details`` are the same for programs: mappings of file, line, column, path, message, allowed.
    """

    exit_code = 65
    code = "invalid_definitions"

    def __init__(self, problems: Sequence[str], details: Sequence[Mapping[str, object]]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems
        self.details = details


class InvalidParamsError(DefinitionsError):
    """Params that a person gave and the job's ``params_schema`` does not allow."""

    code = "invalid_params"


class NotPermittedError(CallerError):
    exit_code = 77
    code = "not_permitted"


class ConfigurationError(CallerError):
    exit_code = 78
    code = "configuration"


class TransientError(SchedulerError):
    exit_code = 69
    code = "unavailable"


class BrokerUnavailableError(TransientError):
    code = "broker_unavailable"


class DatabaseUnavailableError(TransientError):
    code = "database_unavailable"


class SessionLostError(TransientError):
    code = "session_lost"


class PoisonError(SchedulerError):
    code = "poison"
