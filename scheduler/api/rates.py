"""Token buckets: how often one caller may ask."""

import math
from collections import OrderedDict
from typing import Final

_MOST_BUCKETS: Final = 10_000
"""Callers remembered at once; whoever has asked longest ago is forgotten, and so begins anew."""


class Buckets:
    """One bucket for each caller: ``burst`` at once, then ``per_s`` a second."""

    def __init__(self, per_s: float, burst: float) -> None:
        self.per_s = per_s
        self.burst = burst
        self._levels: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, caller: str, now: float) -> float:
        """Take one token at ``now`` (monotonic seconds); return 0, or the seconds until there is one."""
        level = self._level(caller, now)
        granted = level >= 1
        self._put(caller, level - granted, now)
        return 0.0 if granted else (1 - level) / self.per_s

    def wait(self, caller: str, now: float) -> float:
        """Return what ``take`` would, and take nothing."""
        return max(0.0, (1 - self._level(caller, now)) / self.per_s)

    def said(self, caller: str, now: float) -> dict[str, str]:
        """Return the headers that tell a caller what is left: RateLimit and RateLimit-Policy of the IETF draft."""
        level = max(0.0, self._level(caller, now))
        full_s = math.ceil((self.burst - level) / self.per_s)
        policy = f'"caller";q={int(self.burst)};w={math.ceil(self.burst / self.per_s)}'
        return {"RateLimit-Policy": policy, "RateLimit": f'"caller";r={int(level)};t={full_s}'}

    def _level(self, caller: str, now: float) -> float:
        level, at = self._levels.get(caller, (self.burst, now))
        return min(self.burst, level + (now - at) * self.per_s)

    def _put(self, caller: str, level: float, now: float) -> None:
        self._levels[caller] = level, now
        self._levels.move_to_end(caller)
        if len(self._levels) > _MOST_BUCKETS:
            self._levels.popitem(last=False)
