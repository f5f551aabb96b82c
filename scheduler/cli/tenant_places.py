"""Where tenants have databases and vhosts of their own, as commands are told: checked before anything is registered."""

from typing import TYPE_CHECKING

from scheduler.errors import ConflictError
from scheduler.store.moving import Place, move_broker
from scheduler.store.registry import find_dsn
from scheduler.store.stores import Store
from scheduler.transport.own_vhost import find_vhost

if TYPE_CHECKING:
    from scheduler.config import Settings


def place_of(name: str, database: str, settings: "Settings", broker: str | None = None) -> Place:
    """Return where the tenant ``name`` is to be.

    Raises:
        ConfigurationError: from here nobody finds its database, or its vhost if it is to have one.
    """
    if broker is not None:
        find_vhost(name, broker, allow_insecure=settings.insecure_broker)
    return Place(database, find_dsn(name, database, allow_insecure=settings.insecure_database), broker)


async def set_broker(main: Store, home: Store, broker: str, settings: "Settings") -> None:
    """Have the tenant that lives in ``home`` work in the vhost found at ``broker``; the word none: in that of all.

    Raises:
        ConfigurationError: from here nobody finds it.
        ConflictError: the tenant lives in the main store, or it is not the time for it.
    """
    if home.apart is None:
        raise ConflictError("a vhost of its own is for a tenant with a database of its own: scheduler tenant move")
    place = None if broker == "none" else broker
    if place is not None:
        find_vhost(home.apart, place, allow_insecure=settings.insecure_broker)
    await move_broker(main, home, place)
