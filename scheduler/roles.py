"""The names of the database roles: one for each actor that speaks to the database, none of which owns anything."""

from typing import Final

ACTOR_ROLES: Final = {
    actor: f"scheduler_{actor}" for actor in ("ticker", "dispatcher", "recorder", "ingress", "watcher")
}
"""What each of them may is in ``scheduler/store/roles.py``. Executors have no business in the database."""

OF_ONE_TENANT: Final = frozenset({"ingress"})
"""Actors that see the rows of one tenant at a time: the one in ``app.tenant``, set for each transaction."""
