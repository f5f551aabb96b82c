"""The plans of triggers that are due together: of those that share rule and cursor, one is worked out for all."""

from datetime import datetime

from scheduler.domain.firing import CatchUpRules, Plan, plan
from scheduler.domain.planned import Schedule

_Key = tuple[Schedule, CatchUpRules, datetime, int | None, datetime | None]


class SharedPlans:
    """What ``plan`` gives at one ``now``, remembered: make one for each batch, which bounds it.

    Triggers share a schedule when their texts are equal (Rules), cron expressions also when their fields and
    zones are: of a herd, thousands do.
    """

    __slots__ = ("_found", "_now")

    def __init__(self, now: datetime) -> None:
        self._now = now
        self._found: dict[_Key, Plan] = {}

    def plan(
        self,
        schedule: Schedule,
        *,
        since: datetime,
        rules: CatchUpRules,
        remaining: int | None = None,
        paused_until: datetime | None = None,
    ) -> Plan:
        """Return the plan, see ``firing.plan``."""
        key = (schedule, rules, since, remaining, paused_until)
        found = self._found.get(key)
        if found is None:
            found = self._found[key] = plan(
                schedule, since=since, now=self._now, rules=rules, remaining=remaining, paused_until=paused_until
            )
        return found
