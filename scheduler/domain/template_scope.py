"""What templates may name. Whoever fills a template hands in exactly this."""

from typing import Final

SCOPE_NAMES: Final = ("params", "run", "results")
"""In argv, url, headers, bodies and the environment. Inside params: all but ``params``."""

RUN_NAMES: Final = ("id", "job", "tenant", "attempt", "fired_at", "flow_id", "trigger")
"""Entries of ``run``: ids as text, ``fired_at`` the planned instant, ``trigger`` its key or null."""
