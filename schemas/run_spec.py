"""The ``run`` key: what a job executes."""

import re
from datetime import timedelta
from typing import Annotated, Any, Final, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from schemas.durations import Duration
from schemas.json_values import JsonValue
from schemas.spec_model import SpecModel, StrictInt, Text, Word

RunKind = Literal["command", "script", "python", "http", "publish", "handler"]
RUN_KINDS: Final[tuple[RunKind, ...]] = ("command", "script", "python", "http", "publish", "handler")
HandlerName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$")]
HttpMethod = Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]

_TARGET: Final = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")


_PORTS: Final = {"http": 80, "https": 443}
_SIGNATURE: Final = frozenset({"webhook-id", "webhook-timestamp", "webhook-signature"})


def _exchange(text: str) -> str:
    if text.startswith("scheduler.") and text != "scheduler.events":
        raise ValueError(f"{text!r} is the scheduler's own: jobs may publish to scheduler.events, or to yours")
    if text == "amq.default" or "{{" in text:
        raise ValueError(f"{text!r} is not the name of an exchange of yours")
    return text


def _target(text: str) -> str:
    if not _TARGET.fullmatch(text):
        raise ValueError(f"{text!r} is not module:function, as in backup_jobs:verify")
    return text


def _url(text: str) -> str:
    if not text.startswith(("http://", "https://", "{{")):
        raise ValueError(f"{text!r} is no address; it starts with http:// or https://")
    return text


class ScriptSpec(SpecModel):
    """A script: exactly one of ``file`` and ``text``."""

    file: Annotated[Text, Field(min_length=1)] | None = None
    """Path below the code directory, as in ./import.sh."""
    text: Annotated[Text, Field(min_length=1)] | None = None
    """The script itself. Templates are not filled in: read the run's parameters from the environment."""
    interpreter: Annotated[Text, Field(min_length=1)] | None = None
    """The program that reads the script; default: what its #! line names, else sh."""

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.file is None) == (self.text is None):
            raise ValueError("give exactly one of file and text")
        return self


class BreakerSpec(SpecModel):
    """When runs that speak to a target wait because it does not work; shared by all jobs of the tenant that name it."""

    failures: Annotated[StrictInt, Field(ge=1, le=1000)] = 5
    """So many attempts in a row without a proper answer open the circuit: no answer, 5xx or 429."""
    open_for: Annotated[Duration, Field(gt=timedelta(0))] = timedelta(seconds=30)
    """For so long nothing starts; then one run tries, and its end closes or opens the circuit."""
    key: Annotated[Text, Field(min_length=1, max_length=255)] | None = None
    """What is shared; default: host and port of the url."""


class HttpSpec(SpecModel):
    """One HTTP request; an answer of 2xx is success."""

    method: HttpMethod = "POST"
    """The HTTP method."""
    url: Annotated[Text, AfterValidator(_url)]
    """Address, http or https; templates are filled in."""
    headers: dict[str, Word] = Field(default_factory=dict)
    """Header lines; templates are filled in."""
    json_body: JsonValue = Field(default=None, alias="json")
    """Sent as JSON; templates are filled in and keep their type. Not together with body."""
    body: Text | None = None
    """Sent as text; templates are filled in. Not together with json."""
    redirects: Annotated[StrictInt, Field(ge=0, le=5)] = 0
    """How many redirects are followed; headers and body do not go along to another origin."""
    sign_with: Annotated[Text, Field(min_length=1)] | None = None
    """Name of the secret (whsec_…) that signs the request, as Standard Webhooks say."""
    breaker: BreakerSpec | None = None
    """Let runs wait while the target does not work; default: they do not."""

    @property
    def circuit(self) -> str | None:
        """What the circuit breaker is shared by; None: there is none."""
        if self.breaker is None:
            return None
        parts = urlsplit(self.url)
        return self.breaker.key or f"{parts.hostname}:{parts.port or _PORTS[parts.scheme]}"

    @model_validator(mode="after")
    def _literal_circuit(self) -> Self:
        if self.breaker is not None:
            _, _, rest = self.url.partition("://")
            if "{{" in (self.breaker.key or rest.split("/", 1)[0] or self.url):
                raise ValueError("breaker.key is needed, without templates, where the host in url is a template")
        return self

    @model_validator(mode="after")
    def _one_body(self) -> Self:
        if self.json_body is not None and self.body is not None:
            raise ValueError("give json or body, not both")
        if self.sign_with is not None and (own := sorted(_SIGNATURE & {name.lower() for name in self.headers})):
            raise ValueError(f"sign_with makes the headers {', '.join(own)}")
        return self


class PublishSpec(SpecModel):
    """One AMQP message; that the broker confirms it is success."""

    exchange: Annotated[Text, Field(min_length=1, max_length=255), AfterValidator(_exchange)]
    """Its name, as it is: scheduler.events, or one of yours."""
    routing_key: Text = ""
    """Templates are filled in; for scheduler.events it begins with the tenant."""
    json_body: JsonValue = Field(default=None, alias="json")
    """Sent as JSON; templates are filled in and keep their type. Not together with text."""
    text: Text | None = None
    """Sent as text; templates are filled in. Not together with json."""
    headers: dict[str, Word] = Field(default_factory=dict)
    """Headers of the message; templates are filled in."""

    @model_validator(mode="after")
    def _one_body(self) -> Self:
        if self.json_body is not None and self.text is not None:
            raise ValueError("give json or text, not both")
        if more := [name for name in self.headers if name.lower() in {"cc", "bcc"}]:
            raise ValueError(f"{', '.join(more)}: a message goes by its routing_key only")
        return self


class RunSpec(SpecModel):
    """What the job executes: exactly one of the keys."""

    command: Annotated[tuple[Word, ...], Field(min_length=1)] | None = None
    """Program and arguments, one list element each; no shell. Templates fill elements, which are never split."""
    script: ScriptSpec | None = None
    """A script file or text."""
    python: Annotated[Text, AfterValidator(_target)] | None = None
    """module:function, called with the run's parameters; async or sync."""
    http: HttpSpec | None = None
    """One HTTP request."""
    publish: PublishSpec | None = None
    """One AMQP message."""
    handler: HandlerName | None = None
    """A name registered by an executor that was started with --handlers MODULE."""

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        given = [kind for kind in RUN_KINDS if getattr(self, kind) is not None]
        if len(given) != 1:
            found = f"found {' and '.join(given)}" if given else "found none"
            raise ValueError(f"give exactly one of {', '.join(RUN_KINDS)}; {found}")
        return self

    @model_serializer(mode="wrap")
    def _only_the_kind(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {key: value for key, value in serialize(self).items() if value is not None}

    @property
    def kind(self) -> RunKind:
        """Which of the keys is given."""
        return next(kind for kind in RUN_KINDS if getattr(self, kind) is not None)
