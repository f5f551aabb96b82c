"""What templates may name. Whoever fills a template hands in exactly this."""

from typing import Final

EVENT: Final = "event"
"""What has started the flow, where an event has; see EVENT_NAMES."""

SCOPE_NAMES: Final = ("params", "run", "results", EVENT)
"""In argv, url, headers, bodies and the environment. Inside params: all but ``params``."""

EVENT_NAMES: Final = ("id", "source", "topic", "subject", "time", "data", "headers")
"""Entries of ``event``."""

SECRETS: Final = "secrets"
"""The job's own ``secrets``, in url, headers and bodies of http only: everything else would show them."""

RUN_NAMES: Final = ("id", "job", "attempt", "fired_at")
"""Entries of ``run``; ``fired_at`` is the planned instant."""
