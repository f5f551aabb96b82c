"""Settings: what an operator may turn, and where each value came from.

A value is taken from the first of: a flag, ``SCHEDULER_<NAME>`` (nested names joined by ``__``; for
secrets also ``SCHEDULER_<NAME>_FILE``, the path of a file that holds it), the bare ``DATABASE_URL``
and ``AMQP_URL``, the configuration file, the default. An empty variable counts as not given.
"""

import difflib
import os
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from ipaddress import IPv4Network, IPv6Network
from operator import attrgetter
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, SecretStr, ValidationError

from scheduler.config_sections import (
    DefaultsSection,
    HttpSection,
    JwtSection,
    PacingSection,
    Ports,
    RetentionSection,
    Section,
    TickSection,
    WatchSection,
    listed,
    openable,
    url_of,
)
from scheduler.domain import addresses
from scheduler.errors import ConfigurationError
from schemas.durations import Duration, format_duration
from schemas.labels import Labels, label_texts, labels_of
from schemas.message import Name
from schemas.sizes import Cores, Size, format_size

PREFIX: Final = "SCHEDULER_"
_SIZES: Final = {"memory", "disk", "max_rss"}
CONFIG_FILE: Final = "scheduler.toml"
"""Read from the working directory when no other file is named."""

_BARE: Final = {"database_url": "DATABASE_URL", "amqp_url": "AMQP_URL"}
_FACTS: Final = ("RUN_ID", "ATTEMPT", "FENCE", "JOB", "FLOW_ID", "FIRED_AT", "PARAMS", "RESULTS")
_OF_RUNS: Final = frozenset(f"{PREFIX}{name}" for name in (*_FACTS, "RESULT", "SNOOZE", "CONFIG"))
"""Variables that tell a job about its run, and the one that names the file: no settings, no typing errors."""


def _state_dir() -> Path:
    return Path(os.environ.get("XDG_STATE_HOME") or "~/.local/state").expanduser() / "scheduler"


class Settings(Section):
    """Every setting, with its default."""

    database_url: Annotated[SecretStr | None, url_of(*addresses.DATABASE_SCHEMES)] = None
    """PostgreSQL, as in postgresql://user:password@host/name. Default: the private server of `scheduler up`."""
    amqp_url: Annotated[SecretStr | None, url_of(*addresses.BROKER_SCHEMES)] = None
    """RabbitMQ, as in amqp://user:password@host/vhost. Default: `scheduler up` needs none."""
    management_url: Annotated[SecretStr | None, url_of(*addresses.MANAGEMENT_SCHEMES)] = None
    """RabbitMQ's management API, as in http://user:password@host:15672. With it, queue limits are policies."""
    publish_url: Annotated[SecretStr | None, url_of(*addresses.BROKER_SCHEMES)] = None
    """RabbitMQ for `publish` jobs, by a user that may write no more than they should. Default: amqp_url."""
    insecure_broker: bool = False
    """Let amqp:// without TLS reach another host: for a private network, such as that of a compose file."""
    insecure_database: bool = False
    """Let a database on another host be reached without TLS: for a private network too."""
    one_database_user: bool = False
    """Let actors work as the user that owns the schema, where a database has no other: then no right is held back."""
    queue_type: Literal["auto", "classic", "quorum"] = "auto"
    """auto: quorum on clusters and on RabbitMQ 4, else classic."""
    tenant: Name = "default"
    """Whose jobs and runs commands speak of."""
    timezone: Annotated[str, Field(min_length=1)] = "UTC"
    """IANA name for jobs that do not say."""
    pool: Name = "default"
    """The pool that an executor serves."""
    slots: Annotated[int, Field(ge=1, le=10_000)] = 5
    """How many attempts an executor runs at once."""
    cpu: Cores | None = None
    """Cores that the `resources` of an executor's attempts share, as in 3.5 or 350%. Default: those that it may use."""
    memory: Size | None = None
    """Memory that the `resources` of an executor's attempts share, as in 6GiB. Default: that which it may use."""
    disk: Size | None = None
    """Space that they share for their folders, as in 100GiB. Default: what is free there when an executor starts."""
    io: Annotated[float, Field(ge=1, le=10_000)] | None = None
    """So many of them use the disk at once: `io: low` counts half, `idle` nothing. Default: as many as there are."""
    max_runs_per_process: Annotated[int, Field(ge=1, le=1_000_000)] = 100
    """So many runs of a python function, and their process is replaced; 1: each run has a fresh one."""
    max_rss: Annotated[Size, Field(validate_default=False)] = 256 * 1024**2
    """A process of python functions that has more memory after a run is replaced, too."""
    process_idle: Duration = timedelta(seconds=10)
    """A process of python functions without a run for so long ends."""
    sandbox_read: Annotated[tuple[Path, ...], BeforeValidator(listed), AfterValidator(openable)] = ()
    """Paths (comma between) that jobs with isolation sandbox may read besides the system's and the code directory."""
    sandbox_write: Annotated[tuple[Path, ...], BeforeValidator(listed), AfterValidator(openable)] = ()
    """Paths (comma between) that they may write to besides their own directory."""
    labels: Annotated[Labels, BeforeValidator(labels_of)] = Field(default_factory=dict)
    """Labels of an executor, which jobs and pools may demand: key=value, comma between."""
    lease: Duration = timedelta(seconds=30)
    """An attempt counts as lost when its executor was not heard of for this long; 10s in ``up`` with its own broker."""
    resend: Duration = timedelta(seconds=30)
    """An offer that no executor has claimed for this long is looked at again."""
    drain_timeout: Duration = timedelta(seconds=60)
    """A draining executor kills what still runs after this long."""
    tick: TickSection = TickSection()
    retention: RetentionSection = RetentionSection()
    catch_up: PacingSection = PacingSection()
    watch: WatchSection = WatchSection()
    defaults: DefaultsSection = DefaultsSection()
    http: HttpSection = HttpSection()
    jwt: JwtSection = JwtSection()
    data_dir: Annotated[Path, BeforeValidator(lambda path: Path(path).expanduser())] = Field(default_factory=_state_dir)
    """The private PostgreSQL of `scheduler up`, and what executors keep. Default: $XDG_STATE_HOME/scheduler."""
    allow_networks: Annotated[tuple[IPv4Network | IPv6Network, ...], BeforeValidator(listed)] = ()
    """Networks (CIDR, comma between) that http jobs may reach although they are not public."""
    allow_ports: Annotated[tuple[Ports, ...], BeforeValidator(listed)] = ("80", "443", "1024-65535")
    """Ports and ranges of ports (comma between) that http jobs may connect to, on any address."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Lines below this level are not written."""
    log_format: Literal["auto", "json", "console"] = "auto"
    """auto: console on a terminal, else json."""
    log_runs: Literal["each", "batch"] = "each"
    """each: a line for each firing, start and success; batch: only what went wrong has lines of its own."""
    tracing: bool = False
    """Make spans of firings, claims and attempts: needs actor-scheduler[otel], and OTEL_* variables to say where to."""
    probe_host: Annotated[str, Field(min_length=1)] = "127.0.0.1"
    """Address of /livez, /readyz and /metrics. Beyond loopback it needs ``probe_token``."""
    probe_token: SecretStr | None = None
    """What /metrics asks for there, as a bearer token: at least 32 characters. Default: anybody may read it."""
    probe_port: Annotated[int, Field(ge=0, le=65_535)] | None = None
    """Else: up 8080, ticker 8081, dispatcher 8082, executor 8083, recorder 8084, ingress 8085, watcher 8086; or any."""

    def job_defaults(self) -> dict[str, Any]:
        """Return the job keys that these settings give to definitions files."""
        return {
            "timezone": self.timezone,
            "timeout": format_duration(self.defaults.timeout),
            "catch_up": self.defaults.catch_up.model_dump(mode="json"),
        }


@dataclass(frozen=True, slots=True)
class Loaded:
    """Settings, where each came from (dotted name → words), and what looks like a mistake."""

    settings: Settings
    origins: Mapping[str, str]
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Knob:
    """One setting: its dotted name, what it is named in the environment, whether it is secret."""

    name: str
    variable: str
    secret: bool
    description: str


def knobs(model: type[BaseModel] = Settings, path: tuple[str, ...] = ()) -> Iterator[Knob]:
    """Yield every setting, sections flattened, in order."""
    for name, info in model.model_fields.items():
        here = (*path, name)
        if isinstance(info.annotation, type) and issubclass(info.annotation, Section):
            yield from knobs(info.annotation, here)
        else:
            secret = info.annotation == SecretStr | None
            yield Knob(".".join(here), PREFIX + "__".join(here).upper(), secret, info.description or "")


def shown(settings: Settings, knob: Knob) -> str | None:
    """Return the value of a setting as text that reads back, secrets masked; None when not set."""
    value: Any = attrgetter(knob.name)(settings)
    if value is None or isinstance(value, timedelta):
        return None if value is None else format_duration(value)
    value = label_texts(value) if isinstance(value, dict) else value
    text = ",".join(map(str, value)) if isinstance(value, tuple | list) else str(value)
    text = format_size(value) if knob.name in _SIZES else text
    return text.lower() if isinstance(value, bool) else text


def load_settings(flags: Mapping[str, Any], environ: Mapping[str, str], *, file: Path | None = None) -> Loaded:
    """Gather the settings. ``flags`` go by dotted name; None means not given.

    ``file`` must exist if given; else ``SCHEDULER_CONFIG`` or ``scheduler.toml`` in the working directory.

    Raises:
        ConfigurationError: a value that cannot be, named with its origin and never shown, or an unreadable file.
    """
    every = list(knobs())
    found, origins = {}, {}
    path = file or (Path(environ[f"{PREFIX}CONFIG"]) if environ.get(f"{PREFIX}CONFIG") else None)
    from_file, warnings = _read_file(path, every)
    for knob in every:
        for value, origin in _candidates(knob, flags, environ, from_file, path or Path(CONFIG_FILE)):
            if value is not None:
                found[knob.name], origins[knob.name] = value, origin
                break
        else:
            origins[knob.name] = "default"
    try:
        settings = Settings.model_validate(_nested(found))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        name = _knob_at(first["loc"], found)
        origin = origins.get(name, "default")
        raise ConfigurationError(f"{name} (from {origin}): {first['msg'].removeprefix('Value error, ')}") from None
    url, mode = settings.database_url, environ.get("PGSSLMODE")
    unsafe = url and addresses.database_warning(url.get_secret_value(), mode)
    return Loaded(settings, origins, (*warnings, *_unknown_variables(environ, every), *([unsafe] if unsafe else ())))


def _candidates(
    knob: Knob, flags: Mapping[str, Any], environ: Mapping[str, str], from_file: Mapping[str, Any], path: Path
) -> Iterator[tuple[Any, str]]:
    yield flags.get(knob.name), "flag"
    yield environ.get(knob.variable) or None, knob.variable
    if knob.secret and (secret_file := environ.get(f"{knob.variable}_FILE")):
        try:
            yield Path(secret_file).read_text(encoding="utf-8").strip(), f"{knob.variable}_FILE"
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigurationError(f"{knob.variable}_FILE: {secret_file} cannot be read: {error}") from None
    if bare := _BARE.get(knob.name):
        yield environ.get(bare) or None, bare
    yield from_file.get(knob.name), str(path)


def _read_file(path: Path | None, every: list[Knob]) -> tuple[dict[str, Any], list[str]]:
    """Return the file's values by dotted name, and warnings."""
    chosen = path or Path(CONFIG_FILE)
    try:
        text = chosen.read_text(encoding="utf-8")
    except FileNotFoundError:
        if path is None:
            return {}, []
        raise ConfigurationError(f"{chosen}: no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{chosen}: cannot be read: {error}") from None
    try:
        values = dict(_flat(tomllib.loads(text), {knob.name for knob in every}))
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{chosen}: {error}") from None
    known = [knob.name for knob in every]
    for name in values:
        if name not in known:
            raise ConfigurationError(f"{chosen}: unknown setting {name}{_suggestion(name, known)}")
    leaks = chosen.stat().st_mode & 0o077 and any(knob.secret and knob.name in values for knob in every)
    return values, [f"{chosen} holds secrets and can be read by others: chmod 600 {chosen}"] * leaks


def _flat(table: Mapping[str, Any], known: set[str], path: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in table.items():
        name = f"{path}{key}"
        if isinstance(value, dict) and name not in known:
            yield from _flat(value, known, f"{name}.")
        else:
            yield name, value


def _nested(flat: Mapping[str, Any]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for name, value in flat.items():
        *sections, last = name.split(".")
        branch = tree
        for section in sections:
            branch = branch.setdefault(section, {})
        branch[last] = value
    return tree


def _knob_at(loc: tuple[int | str, ...], found: Mapping[str, Any]) -> str:
    """Return the setting that an error's place is in; unions and items add parts of their own."""
    parts = [str(part) for part in loc]
    names = [".".join(parts[:end]) for end in range(len(parts), 0, -1)]
    return next((name for name in names if name in found), parts[0])


def _unknown_variables(environ: Mapping[str, str], every: list[Knob]) -> Iterator[str]:
    known = [knob.variable for knob in every]
    allowed = {*known, *(f"{knob.variable}_FILE" for knob in every if knob.secret), *_OF_RUNS}
    for variable in sorted(environ):
        if variable.startswith(PREFIX) and variable not in allowed:
            yield f"{variable} is no setting{_suggestion(variable, known)}"


def _suggestion(word: str, known: list[str]) -> str:
    near = difflib.get_close_matches(word, known, n=1)
    return f"; did you mean {near[0]}?" if near else ""
