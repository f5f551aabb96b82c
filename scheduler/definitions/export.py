"""Definitions → a document that loads back to the same definitions, as plain values or as YAML."""

from typing import Any

import yaml

from scheduler.definitions.model import Definitions
from scheduler.definitions.yaml_scalars import ScalarError, resolve
from schemas.job_spec import JobSpec


def export(definitions: Definitions) -> str:
    """Return one YAML document of what ``exported`` says."""
    return yaml.dump(exported(definitions), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=10_000)


def exported(definitions: Definitions) -> dict[str, Any]:
    """Return the document as plain values. Defaults of the product are left out of the jobs, chains are needs.

    It says the defaults that the program's settings could change, so that it means the same
    under other settings.
    """
    plain = JobSpec(run={"handler": "none"})
    settled = plain.model_dump(mode="json", include={"timezone", "timeout", "catch_up"})
    document: dict[str, Any] = {"version": 1, "tenant": definitions.tenant}
    if definitions.source is not None:
        document["source"] = definitions.source
    document["defaults"] = settled
    if definitions.calendars:
        plain_rows = {
            name: spec.model_dump(mode="json", exclude_defaults=True) for name, spec in definitions.calendars.items()
        }
        document["calendars"] = plain_rows
    if definitions.webhooks:
        document["webhooks"] = {
            name: spec.model_dump(mode="json", exclude_defaults=True) for name, spec in definitions.webhooks.items()
        }
    if definitions.pools:
        document["pools"] = {name: pool.model_dump(mode="json") for name, pool in definitions.pools.items()}
    document["jobs"] = {name: exported_job(spec) for name, spec in definitions.jobs.items()}
    return document


def exported_job(spec: JobSpec) -> dict[str, Any]:
    """Return the keys of one job as somebody would write them, without defaults of the product."""
    row = spec.model_dump(mode="json", exclude_defaults=True)
    if row.get("max_running") == 1:
        del row["max_running"]
    return row


class _Dumper(yaml.CSafeDumper):
    """Quotes what YAML 1.2 would not read back as text, and writes no aliases."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - PyYAML's signature
        return True

    def represent_str(self, data: str) -> yaml.ScalarNode:
        try:
            quoted = resolve(data, plain=True) != data
        except ScalarError:
            quoted = True
        style = '"' if quoted else "|" if "\n" in data else None
        return self.represent_scalar("tag:yaml.org,2002:str", data, style=style)


_Dumper.add_representer(str, _Dumper.represent_str)
