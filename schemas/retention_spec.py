"""How long ended runs of a job are kept, by how they ended."""

from datetime import timedelta
from typing import Annotated

from pydantic import AfterValidator

from schemas.durations import Duration
from schemas.spec_model import SpecModel


def _possible(span: timedelta) -> timedelta:
    if span > timedelta(days=365):
        raise ValueError("must be at most 365d")
    return span


Kept = Annotated[Duration, AfterValidator(_possible)]


class RetentionSpec(SpecModel):
    """Spans of at most 365 days, rounded up to 7, 30, 90 or 365 days. Default: as the operator has set."""

    succeeded: Kept | None = None
    """Runs that succeeded."""
    failed: Kept | None = None
    """Runs that failed, dead runs too."""
    cancelled: Kept | None = None
    """Runs that somebody or a newer run ended."""
    skipped: Kept | None = None
    """Runs that a needed run's end kept from starting."""
