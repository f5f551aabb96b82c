"""Words shared by wire, database and code. Each means one thing; see docs/glossary.md."""

from enum import StrEnum
from typing import Final


class RunState(StrEnum):
    """Where a run stands. The moves between the states are in scheduler/domain/run_state.py."""

    WAITING = "waiting"
    """Held by its needs, by the delay of one of them, or by the runs of its job before it (overlap)."""
    READY = "ready"
    """May be offered; in the backlog of its pool."""
    QUEUED = "queued"
    """Offered on an executor queue, not claimed yet."""
    RUNNING = "running"
    """Claimed by an executor under a lease."""
    BACKING_OFF = "backing_off"
    """An attempt failed or was lost, or nobody there could run it; the next one waits for its time."""
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    """Ended by a person, or for a newer run of its job (overlap)."""
    SKIPPED = "skipped"
    """Ended by policy or by what happened upstream; never started."""


class Outcome(StrEnum):
    """How one attempt ended."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    OUT_OF_LIMITS = "out_of_limits"
    LOST = "lost"
    """Its lease ran out: nobody knows how far it came."""
    CANCELLED = "cancelled"
    SNOOZED = "snoozed"
    """It asked to be run later, which uses up none of ``retry.attempts``."""


class Verdict(StrEnum):
    """What became of a firing. Exactly one for each planned instant of a trigger."""

    STARTED = "started"
    SKIPPED_OVERLAP = "skipped_overlap"
    DUPLICATE = "duplicate"
    """A run with the same unique key was started shortly before."""
    JOINED = "joined"
    """The same, and that run stands for this firing too."""
    SKIPPED_CALENDAR = "skipped_calendar"
    """Its day is closed in the calendar, and the trigger does not roll to another."""
    DST_GAP = "dst_gap"
    """Its wall time does not exist on that day, and the trigger skips such times."""
    MISFIRED = "misfired"
    """Found later than its catch-up window."""
    MERGED = "merged"
    """A later firing stands for it."""
    PAUSED = "paused"
    """Its job was paused or disabled at that instant."""
    TENANT_SUSPENDED = "tenant_suspended"
    """Its tenant was suspended at that instant."""
    OVER_QUOTA = "over_quota"
    """Its tenant had used up a quota: runs per minute, or storage."""
    SUPERSEDED = "superseded"
    """Its trigger or job was changed or removed before it was decided."""
    INVALID = "invalid"
    """Its event lacks what the trigger's params are made of."""
    LOOP = "loop"
    """Its event stands at the end of a chain of runs that each started the next one."""
    DEBOUNCED = "debounced"
    """A later event of the same key came before its time was over, and stands for it."""
    THROTTLED = "throttled"
    """As many events as may had started runs shortly before."""
    COLLECTED = "collected"
    """Its event is one of those that a gathered event stands for, which has a firing of its own."""
    ARRIVED = "arrived"
    """What the trigger would have missed has come."""


class FiringKind(StrEnum):
    """What asked for a firing."""

    TIME = "time"
    MANUAL = "manual"
    RETRY = "retry"
    """A person asked to run an ended run again."""
    EVENT = "event"
    """An event that a trigger was waiting for."""


class EventSource(StrEnum):
    """Where an event came from."""

    AMQP = "amqp"
    WEBHOOK = "webhook"
    FILE = "file"
    CLI = "cli"
    API = "api"
    RUN = "run"
    """The end of a run."""
    SYSTEM = "system"
    ABSENCE = "absence"
    """Something did not happen by its time."""
    GATHERED = "gathered"
    """It stands for several events: those that were collected, or the parts of an all_of."""


class EventVerdict(StrEnum):
    """What became of an event."""

    STARTED = "started"
    """It fired: each of its firings has a verdict of its own."""
    UNMATCHED = "unmatched"
    """No trigger waited for it; the reason names those that did not for some cause of their own."""
    INVALID = "invalid"
    """It could not be read, or nothing could be made of it."""
    LOOP = "loop"
    """It is the end of a run to which too many runs have led, each started by the one before."""
    THROTTLED = "throttled"
    """It came too soon after others."""
    ARRIVED = "arrived"
    """An absence that is none: what was looked for had come."""


class FileChange(StrEnum):
    ADDED = "added"
    MODIFIED = "modified"
    DELETED = "deleted"


class VerifyScheme(StrEnum):
    """How a webhook shows who sent it."""

    STANDARD_WEBHOOKS = "standard-webhooks"
    GITHUB = "github"
    STRIPE = "stripe"
    SLACK = "slack"
    TOKEN = "token"  # noqa: S105 - the name of a scheme
    NONE = "none"


class TriggerKind(StrEnum):
    CRON = "cron"
    EVERY = "every"
    AT = "at"
    CALENDAR = "calendar"
    EVENT = "event"
    WEBHOOK = "webhook"
    FILE = "file"
    ENDED = "ended"
    SYSTEM = "system"
    MISSING = "missing"
    ALL_OF = "all_of"
    ANY_OF = "any_of"


class Roll(StrEnum):
    """Which open day stands for a closed one."""

    NONE = "none"
    """None does: that firing is skipped_calendar."""
    FOLLOWING = "following"
    PRECEDING = "preceding"
    MODIFIED_FOLLOWING = "modified_following"
    """The following one, unless it lies in another month: then the preceding one."""


class NeedCondition(StrEnum):
    """Which end of an upstream run meets a need."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    SKIPPED = "skipped"
    FINISHED = "finished"
    """Any end."""


class NeedsRule(StrEnum):
    ALL = "all"
    ANY = "any"


class OnDuplicate(StrEnum):
    """What a firing does whose job has a run with the same unique key from shortly before."""

    DROP = "drop"
    JOIN = "join"
    """That run stands for it too: who waits for the firing waits for that run."""


class OverlapPolicy(StrEnum):
    """What a firing does while as many runs of its job are active as may be."""

    ALLOW = "allow"
    SKIP = "skip"
    QUEUE_ONE = "queue_one"
    """One run waits for its turn; what fires while it waits is skipped."""
    QUEUE_ALL = "queue_all"
    CANCEL_PREVIOUS = "cancel_previous"
    """The oldest active run is asked to stop; the newest run starts when that has ended."""
    KILL_PREVIOUS = "kill_previous"
    """The same without grace."""

    @property
    def takes_turns(self) -> bool:
        """Whether runs of the job wait for one another."""
        return self not in {OverlapPolicy.ALLOW, OverlapPolicy.SKIP}


class Turn(StrEnum):
    """How a run stands in the line of its job, where overlap makes runs wait for one another."""

    TAKES = "takes"
    """It starts in its turn, and its end gives the turn on."""
    AWAITS = "awaits"
    """It is in the line: held by nothing but the runs before it."""


class CatchUpPolicy(StrEnum):
    LATEST = "latest"
    ALL = "all"
    NONE = "none"


class GapRule(StrEnum):
    """What becomes of a wall time that a change of the clock skips."""

    RUN_AFTER = "run_after"
    """Once, right after the gap."""
    SKIP = "skip"
    """Not at all; the ledger says dst_gap."""


class FoldRule(StrEnum):
    """At which of the two instants of a repeated wall time a trigger fires."""

    FIRST = "first"
    SECOND = "second"
    BOTH = "both"


class Backoff(StrEnum):
    EXPONENTIAL = "exponential"
    LINEAR = "linear"
    FIXED = "fixed"


class OnLost(StrEnum):
    RERUN = "rerun"
    FAIL = "fail"


class OnLostContact(StrEnum):
    """What an executor does with an attempt while nobody confirms its heartbeats."""

    CONTINUE = "continue"
    KILL = "kill"
    """It is killed before its lease can end, so that no other attempt runs beside it."""


class Priority(StrEnum):
    CRITICAL = "critical"
    HIGH = "high"
    NORMAL = "normal"
    LOW = "low"
    BACKGROUND = "background"

    @property
    def rank(self) -> int:
        """0 is the most urgent; what the database sorts by."""
        return _RANKS[self]


_RANKS: Final = {priority: rank for rank, priority in enumerate(Priority)}


class ReturnReason(StrEnum):
    """Why an executor hands an offer or a claim back unstarted."""

    DRAINING = "draining"
    LATE_GRANT = "late_grant"
    """The grant came after the executor had given the claim up."""
    NO_HANDLER = "no_handler"
    NO_LABEL = "no_label"
    NO_SANDBOX = "no_sandbox"
    """It cannot run isolation sandbox, and never runs such a job without."""
    NO_SLOT = "no_slot"
    NO_ROOM = "no_room"
    """What its ``resources`` demand did not get free in time, or is more than the executor has."""
