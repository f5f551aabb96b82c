"""What a tenant may use, and what is said when it has."""

from dataclasses import dataclass

from schemas.sizes import format_size


@dataclass(frozen=True, slots=True)
class Quota:
    """None: no limit."""

    max_runs_per_minute: int | None = None
    max_storage_bytes: int | None = None
    storage_bytes: int = 0
    """What its rows take, as last measured."""

    @property
    def limits_starts(self) -> bool:
        """Whether a firing has to ask it."""
        return self.max_runs_per_minute is not None or self.max_storage_bytes is not None

    def full(self, tenant: str) -> str | None:
        """Return why nothing more may be stored, or None."""
        most = self.max_storage_bytes
        if most is None or self.storage_bytes < most:
            return None
        held = format_size(self.storage_bytes)
        return f"tenant {tenant} stores {held}, its quota is {format_size(most)} (max_storage)"

    def spent(self, tenant: str, runs: int) -> str | None:
        """Return why nothing more may start in a minute in which ``runs`` runs did, or None."""
        most = self.max_runs_per_minute
        if most is None or runs < most:
            return None
        return f"tenant {tenant} has started {runs} runs in this minute, its quota is {most} (max_runs_per_minute)"


def too_many_jobs(tenant: str, jobs: int, most: int) -> str:
    """Return what is said when a tenant would have more jobs than its quota lets it have."""
    return f"tenant {tenant} would have {jobs} jobs, its quota is {most} (max_jobs)"
