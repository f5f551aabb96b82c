"""The names of the database roles: one for each actor that speaks to the database, none of which owns anything."""

from typing import Final

ACTOR_ROLES: Final = {actor: f"scheduler_{actor}" for actor in ("ticker", "dispatcher", "recorder")}
"""What each of them may is in ``scheduler/store/sql/roles.sql``. Executors have no business in the database."""
