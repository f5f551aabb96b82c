"""The environment of a job, built from empty: nothing of the executor's own leaks into it."""

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from uuid import UUID

from scheduler import tracing
from scheduler.domain.file_names import exact_text
from scheduler.domain.trace import traceparent_of
from scheduler.ports import AttemptContext
from schemas.work import SecretRef, WorkOrder

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
SECRET_BYTES = 64 * 1024
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class UnusableOrderError(ValueError):
    """The order cannot be carried out as it stands; the text is the attempt's reason."""


def build_environment(order: WorkOrder, context: AttemptContext, secrets: Mapping[str, str]) -> dict[str, str]:
    """Return the whole environment of a child: basics, the order's ``env``, secrets, run variables (these win).

    Raises:
        UnusableOrderError: a name is not a variable's name, or a value holds NUL.
    """
    environment = {
        "PATH": DEFAULT_PATH,
        "HOME": str(_home()),
        "LANG": "C.UTF-8",
        "TZ": os.environ.get("TZ", "UTC"),
        **({name: exact_text(value) for name, value in order.env.items()} if order.names_as_bytes else order.env),
        **secrets,
        **run_variables(order, context),
    }
    for name, value in environment.items():
        if not _NAME.fullmatch(name):
            raise UnusableOrderError(f"{name!r} cannot be the name of an environment variable")
        if "\x00" in value:
            raise UnusableOrderError(f"the environment variable {name} holds a NUL character")
    return environment


def run_variables(order: WorkOrder, context: AttemptContext) -> dict[str, str]:
    """Return the ``SCHEDULER_*`` variables that tell a job which run it is, and its place in its trace."""
    return {
        "TRACEPARENT": attempt_traceparent(order.flow_id, context),
        "SCHEDULER_TENANT": context.tenant,
        "SCHEDULER_RUN_ID": str(context.run_id),
        "SCHEDULER_ATTEMPT": str(context.attempt),
        "SCHEDULER_FENCE": str(context.lease_token),
        "SCHEDULER_JOB": order.job,
        "SCHEDULER_FLOW_ID": str(order.flow_id),
        "SCHEDULER_FIRED_AT": "" if order.fired_at is None else order.fired_at.isoformat(),
        "SCHEDULER_PARAMS": json.dumps(order.params, ensure_ascii=False),
        "SCHEDULER_RESULTS": json.dumps(order.results, ensure_ascii=False),
    }


def attempt_traceparent(flow_id: UUID, context: AttemptContext) -> str:
    """Return the place of an attempt in its trace, as its processes and requests hand it on."""
    sampled = tracing.current() is not None
    return traceparent_of(flow_id, context.run_id, context.attempt, context.traceparent, sampled=sampled)


def resolve_secrets(references: Mapping[str, SecretRef]) -> dict[str, str]:
    """Return the values. Reads files: call it in a thread.

    Raises:
        UnusableOrderError: one is missing or unreadable; names the reference, never a value.
    """
    return {name: _resolve(name, reference) for name, reference in references.items()}


def _resolve(name: str, reference: SecretRef) -> str:
    if (reference.env is None) == (reference.file is None):
        raise UnusableOrderError(f"secret {name}: exactly one of env and file is needed")
    if reference.env is not None:
        value = os.environ.get(reference.env)
        if value is None:
            raise UnusableOrderError(f"secret {name}: the executor has no environment variable {reference.env}")
        return value
    try:
        with Path(reference.file or "").open("rb") as file:
            raw = file.read(SECRET_BYTES + 1)
        if len(raw) > SECRET_BYTES:
            raise UnusableOrderError(f"secret {name}: {reference.file} is larger than 64 KiB")
        return raw.decode().removesuffix("\n")
    except UnicodeDecodeError:
        raise UnusableOrderError(f"secret {name}: {reference.file} is not UTF-8 text") from None
    except OSError as error:
        raise UnusableOrderError(f"secret {name}: {reference.file}: {error.strerror}") from None


def _home() -> Path:
    try:
        return Path.home()
    except RuntimeError:  # a uid without an entry in the password file
        return Path("/")
