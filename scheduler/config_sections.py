"""The sections of the settings; ``scheduler/config.py`` says where their values come from."""

from datetime import time, timedelta
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr

from scheduler.domain import addresses
from scheduler.domain.retention import LEAST_AUDIT, RetentionSettings
from scheduler.domain.run_state import FINAL
from scheduler.domain.zones import zone
from schemas.durations import Duration
from schemas.retention_spec import Kept
from schemas.vocabulary import CatchUpPolicy

LONGEST_TOKEN: Final = timedelta(days=365)
"""Longer than this no token may live, whatever is set."""
_LEAST_SECRET_BYTES: Final = 32
_LEAST_VARIETY: Final = 10
"""Random bytes in any usual notation have more different characters; a word repeated has not."""


def listed(value: object) -> object:
    """Take a list from one text with commas."""
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def openable(paths: tuple[Path, ...]) -> tuple[Path, ...]:
    """Return paths that may be opened to sandboxes."""
    for path in paths:
        if not path.is_absolute() or path.resolve() == Path("/"):
            raise ValueError(f"{path} cannot be opened to a sandbox: an absolute path other than / is needed")
    return paths


Ports = Annotated[str, Field(pattern=r"^[0-9]{1,5}(-[0-9]{1,5})?$")]


def _random_enough(secret: SecretStr | None) -> SecretStr | None:
    text = "" if secret is None else secret.get_secret_value()
    if secret is not None and (len(text.encode()) < _LEAST_SECRET_BYTES or len(set(text)) < _LEAST_VARIETY):
        raise ValueError("must be at least 32 random bytes, as from: openssl rand -hex 32")
    return secret


def _jwks(url: str | None) -> str | None:
    if url is not None:
        addresses.check_scheme(url, ("https", "http"))
        if url.startswith("http:") and not addresses.is_loopback(addresses.host_of(url)):
            raise ValueError("keys are fetched over https:// only")
    return url


def url_of(*schemes: str) -> AfterValidator:
    """Return a check that a secret is a URL of one of ``schemes``."""

    def check(url: SecretStr | None) -> SecretStr | None:
        if url is not None:
            addresses.check_scheme(url.get_secret_value(), schemes)
        return url

    return AfterValidator(check)


class Section(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="forbid", hide_input_in_errors=True, use_attribute_docstrings=True, validate_default=True
    )


class TickSection(Section):
    interval: Duration = timedelta(seconds=5)
    """The Ticker's longest sleep: how late a change is seen whose notification was lost."""
    batch_size: Annotated[int, Field(ge=1, le=5000)] = 1000
    """Triggers planned in one transaction: more is faster in a herd, and holds their rows longer."""


class CatchUpSection(Section):
    policy: CatchUpPolicy = CatchUpPolicy.LATEST
    """What becomes of missed firings of jobs that do not say."""
    window: Duration = timedelta(days=7)
    """How late a firing may be and still run."""
    max: Annotated[int, Field(ge=1, le=100_000)] = 100
    """With policy all: at most this many runs."""


class PacingSection(Section):
    per_minute: Annotated[int, Field(ge=1, le=1_000_000)] = 600
    """After an outage: missed firings started in a minute, those of urgent jobs first. Punctual ones never wait."""


class RetentionSection(Section):
    succeeded: Kept = timedelta(days=7)
    """How long succeeded runs are kept whose jobs do not say; at most 365d, rounded up to 7, 30, 90 or 365 days."""
    failed: Kept = timedelta(days=90)
    """The same of failed runs, dead runs too."""
    cancelled: Kept = timedelta(days=90)
    """The same of cancelled runs."""
    skipped: Kept = timedelta(days=7)
    """The same of skipped runs."""
    ledger: Duration = timedelta(days=90)
    """How long firings and events are kept; a firing at least as long as its run."""
    audit: Annotated[Duration, Field(ge=LEAST_AUDIT)] = timedelta(days=365)
    """How long entries of the audit log are kept, at least 30d."""
    feed: Duration = timedelta(days=7)
    """How long facts of the feed are kept, for readers that come back with a cursor."""
    at_hand: Annotated[Duration, Field(ge=timedelta(minutes=10))] = timedelta(hours=1)
    """So long after its last end a flow stays in the working tables; then it moves to history."""
    at: time = time(2)
    """When the daily work on history begins, in ``timezone``."""
    archive: Annotated[Path, BeforeValidator(lambda path: Path(path).expanduser())] | None = None
    """Folder that runs, firings, events and audit entries are written to as JSON lines before they go."""
    compress: bool = True
    """Archive as .jsonl.gz; else as .jsonl."""

    def plan(self, timezone: str) -> RetentionSettings:
        """Return what the daily work goes by."""
        spans = {state: getattr(self, state.value) for state in FINAL}
        return RetentionSettings(
            spans, self.ledger, self.at_hand, self.at, zone(timezone), self.archive, self.compress, self.audit
        )


class WatchSection(Section):
    lease: Annotated[Duration, Field(ge=timedelta(seconds=1))] = timedelta(seconds=15)
    """A Watcher that was not heard of for this long loses its folders to another."""
    rescan: Annotated[Duration, Field(ge=timedelta(seconds=1))] = timedelta(seconds=30)
    """A folder is looked at again after this long, also when nothing was heard of it."""
    poll: Annotated[Duration, Field(ge=timedelta(milliseconds=100))] = timedelta(seconds=5)
    """The same for folders that tell nothing of changes, as those of network file systems."""
    max_files: Annotated[int, Field(ge=1, le=10_000_000)] = 100_000
    """Files that one trigger may match: each takes some 300 bytes of a Watcher's memory."""


class DefaultsSection(Section):
    timeout: Duration = timedelta(minutes=30)
    """Hard limit of an attempt of jobs that do not say."""
    catch_up: CatchUpSection = CatchUpSection()


class HttpSection(Section):
    host: Annotated[str, Field(min_length=1)] = "127.0.0.1"
    """Address of the HTTP interface. Beyond loopback it needs ``http.auth``."""
    port: Annotated[int, Field(ge=0, le=65_535)] = 8080
    """Port of the HTTP interface of `scheduler start ingress`; `scheduler up` has --port. 0: any."""
    auth: Annotated[tuple[Literal["keys", "jwt"], ...], BeforeValidator(listed)] = ()
    """How callers prove who they are: keys, jwt or both. Default: everybody who reaches loopback is an admin."""
    allowed_hosts: Annotated[tuple[str, ...], BeforeValidator(listed)] = ()
    """Names (comma between) that a request may give in Host beside those of loopback; beyond loopback default any."""
    trusted_proxies: Annotated[tuple[IPv4Network | IPv6Network, ...], BeforeValidator(listed)] = ()
    """Networks (CIDR, comma between) whose X-Forwarded-For says where a request came from."""
    per_second: Annotated[float, Field(gt=0, le=100_000)] = 50.0
    """Requests a second that one caller may make for long; four seconds' worth at once."""
    failures_per_minute: Annotated[int, Field(ge=1, le=100_000)] = 20
    """Refused credentials a minute that one address may offer; of IPv6, one network (/64)."""
    concurrency: Annotated[int, Field(ge=1, le=100_000)] = 500
    """Connections and requests held at once; more are answered 503."""
    streams: Annotated[int, Field(ge=1, le=10_000)] = 10
    """Streams of events that one caller may have open at once."""
    docs: bool | None = None
    """Serve /docs and /openapi.json without credentials. Default: only on loopback without ``http.auth``."""


class JwtSection(Section):
    issuer: Annotated[str | None, Field(min_length=1)] = None
    """The claim iss that tokens must have."""
    audience: Annotated[str, Field(min_length=1)] = "scheduler"
    """The claim aud that tokens must have."""
    secret: Annotated[SecretStr | None, AfterValidator(_random_enough)] = None
    """Key of HS256 tokens, at least 32 random bytes."""
    jwks_url: Annotated[str | None, AfterValidator(_jwks)] = None
    """Where the issuer's public keys are, for RS256 and EdDSA tokens. Not together with ``jwt.secret``."""
    longest: Annotated[Duration, Field(le=LONGEST_TOKEN)] = timedelta(hours=1)
    """Tokens that live longer than this are refused."""
    not_before: AwareDatetime | None = None
    """Tokens that were issued before this time are refused: set it to now when a key was stolen; for single tokens
    and subjects there is `scheduler token revoke`."""
    leeway: Annotated[Duration, Field(le=timedelta(seconds=60))] = timedelta(seconds=30)
    """So far may clocks differ; a subject that is revoked gets a new token after as long."""
