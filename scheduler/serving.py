"""The HTTP interface put together: the site, its application, the Ingress that serves it.

FastAPI is imported when this is called, not when the module is: commands that serve nothing do without it.
"""

import random
from collections.abc import Mapping
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Final

import structlog

from scheduler.domain.addresses import is_loopback
from scheduler.hosting import Check, LinkCheck, Work
from scheduler.wiring import World, database_url, open_link, open_stores, store_check

if TYPE_CHECKING:
    from actors.ingress import Ingress
    from scheduler.api.site import Site
    from scheduler.metrics import Metrics
    from scheduler.ports import Transport

log: structlog.stdlib.BoundLogger = structlog.get_logger()

_CONNECTIONS: Final = 10
"""Of an ingress of its own; requests beyond wait for one."""
_OF_A_TENANT: Final = 4
"""Connections to the database of a tenant that has its own."""


def make_site(world: World, metrics: "Metrics") -> "Site":
    """Return a site without stores.

    Raises:
        ConfigurationError: it would let in anybody from beyond loopback, or judge tokens by nothing.
    """
    from scheduler.api.authentication import check_http_settings
    from scheduler.api.site import Site

    check_http_settings(world.settings)
    site = Site(world.settings, world.clock, metrics)
    if site.open_to_all:
        log.warning("http.open", host=world.settings.http.host, reason="whoever reaches it is an admin: see http.auth")
    return site


def make_ingress(site: "Site", world: World, *, or_any: bool = False) -> "Ingress":
    """Return the Ingress of ``site``, unstarted. ``or_any``: on any port when its own is taken."""
    from actors.ingress import Ingress, Listen
    from scheduler.api.app import make_front

    http = world.settings.http
    listen = Listen(http.host, http.port, or_any and is_loopback(http.host), http.concurrency)
    return Ingress(make_front(site), listen, world.clock, world.rng, site.streams.end)


async def open_site(site: "Site", dsn: str, stack: AsyncExitStack, *, size: int = _CONNECTIONS) -> None:
    """Give ``site`` the stores at ``dsn`` until ``stack`` is closed.

    Raises:
        DatabaseUnavailableError: no connection, or not our schema.
    """
    from scheduler.store.homes import Homes

    stores = await open_stores(dsn, stack, name="ingress", size=size)
    insecure = site.settings.insecure_database
    rng = random.Random()  # noqa: S311 - jitter, no secrets
    homes = Homes(stores, site.clock, rng, size=_OF_A_TENANT, allow_insecure=insecure)
    stack.push_async_callback(homes.stop)
    await homes.start()

    def close() -> None:
        site.stores = None

    stack.callback(close)
    site.stores = stores


async def open_hooks(site: "Site", world: World, transport: "Transport", stack: AsyncExitStack) -> None:
    """Have ``site``, whose stores are open, take webhooks in until ``stack`` is closed.

    Raises:
        DatabaseUnavailableError: the endpoints cannot be read.
    """
    from scheduler.api.hook_desk import HookDesk

    desk = HookDesk(site.opened(), transport, world.clock, world.rng, keeps=world.broker is None)
    stack.push_async_callback(desk.stop)
    await desk.start()

    def close() -> None:
        site.hooks = None

    stack.callback(close)
    site.hooks = desk


async def prepare_ingress(site: "Site", world: World, stack: AsyncExitStack) -> Work:
    """Open what an ingress of its own needs."""
    await open_site(site, database_url(world.settings), stack)
    transport = await open_link(world, stack, actor="ingress")
    await open_hooks(site, world, transport, stack)
    checks: Mapping[str, Check] = {"broker": LinkCheck(transport), "database": store_check(site.opened())}
    return Work(make_ingress(site, world), checks)
