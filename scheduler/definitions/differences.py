"""What differs between two definitions of a job, key by key."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from schemas.job_spec import JobSpec


@dataclass(frozen=True, slots=True)
class Difference:
    """One value that differs; None: it is not there. A trigger is one value, named by its key."""

    path: str
    old: Any
    new: Any


def differences(old: JobSpec, new: JobSpec) -> list[Difference]:
    """Return what ``new`` changes in ``old``, in the order of the keys. Lists other than triggers are one value."""
    return list(_differences(_words(old), _words(new), ""))


def _words(spec: JobSpec) -> dict[str, Any]:
    words = spec.model_dump(mode="json")
    triggers = [trigger.model_dump(mode="json", exclude_defaults=True) for trigger in spec.triggers]
    keys = [trigger.key for trigger in spec.triggers]
    return words | {"triggers": dict(zip(keys, triggers, strict=True))}


def _differences(old: Mapping[str, Any], new: Mapping[str, Any], path: str) -> Iterator[Difference]:
    for key in dict.fromkeys([*old, *new]):
        before, after = old.get(key), new.get(key)
        here = f"{path}{key}"
        if path != "triggers." and isinstance(before, dict) and isinstance(after, dict):
            yield from _differences(before, after, f"{here}.")
        elif before != after:
            yield Difference(here, before, after)
