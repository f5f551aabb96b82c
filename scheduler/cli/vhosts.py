"""Every vhost of an installation, as its operator works on it: that of all, and those that tenants have to themselves.

One that cannot be reached, or refuses, holds up no other: the rest is done, and it is named.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from scheduler.client.opening import open_store
from scheduler.errors import ConfigurationError, NotPermittedError, TransientError
from scheduler.store.definitions import list_pools
from scheduler.store.registry import list_homes
from scheduler.transport.amqp_admin import Admin, admin
from scheduler.transport.broker_url import check_broker_url, check_management_url
from scheduler.transport.own_vhost import find_vhost
from scheduler.transport.topology import Topology, topology_of

if TYPE_CHECKING:
    from scheduler.config import Settings

Work = Callable[[Admin, Topology], Awaitable[list[str]]]


@dataclass(frozen=True, slots=True)
class Vhost:
    """A vhost of a tenant (None: that of all), with what is to be there."""

    tenant: str | None
    place: str | None
    parts: Topology


@dataclass(slots=True)
class Report:
    """What was done or found, a line for each; and, by tenant, which vhosts were not reached and why."""

    lines: list[str] = field(default_factory=list)
    troubles: dict[str, str] = field(default_factory=dict)


async def work_on_all(settings: "Settings", work: Work) -> Report:
    """Do the same in every vhost.

    Raises:
        BrokerUnavailableError, ConfigurationError, NotPermittedError: in that of all; nothing more is done.
    """
    url_of(settings, Vhost(None, None, topology_of({}, ())))  # before the database is asked
    report = Report()
    for vhost in await find_vhosts(settings):
        try:
            url = url_of(settings, vhost)
            async with admin(url, management_of(settings, url), queue_type=settings.queue_type) as operator:
                lines = await work(operator, vhost.parts)
        except (TransientError, ConfigurationError, NotPermittedError) as error:
            if vhost.tenant is None:
                raise
            report.troubles[vhost.tenant] = str(error)
            continue
        report.lines += lines if vhost.tenant is None else [f"{vhost.tenant}: {line}" for line in lines]
    return report


async def find_vhosts(settings: "Settings") -> Sequence[Vhost]:
    """Return all there are, that of all first. Pools and tenants are read from the database."""
    async with open_store(settings, name="cli", of_tenant=False) as store:
        pools, homes = await list_pools(store), await list_homes(store)
    sharing = [tenant for tenant, home in homes.items() if home.broker is None]
    own = [Vhost(tenant, home.broker, topology_of(pools, ())) for tenant, home in homes.items() if home.broker]
    return [Vhost(None, None, topology_of(pools, sharing)), *own]


def url_of(settings: "Settings", vhost: Vhost) -> str:
    """Return the URL by which a vhost is reached from here.

    Raises:
        ConfigurationError: none is named, or it is not safe to use.
    """
    if vhost.tenant is not None and vhost.place is not None:
        return find_vhost(vhost.tenant, vhost.place, allow_insecure=settings.insecure_broker)
    if settings.amqp_url is None:
        raise ConfigurationError("no broker is named: set AMQP_URL (`scheduler up` without it has one of its own)")
    url = settings.amqp_url.get_secret_value()
    check_broker_url(url, allow_insecure=settings.insecure_broker)
    return url


def management_of(settings: "Settings", url: str) -> str | None:
    """Return the URL of the management interface, as far as it is that of the broker at ``url``: the one of all.

    Raises:
        ConfigurationError: it is not safe to use.
    """
    if settings.management_url is None or settings.amqp_url is None:
        return None
    if urlsplit(url).hostname != urlsplit(settings.amqp_url.get_secret_value()).hostname:
        return None
    management = settings.management_url.get_secret_value()
    check_management_url(management, allow_insecure=settings.insecure_broker)
    return management
