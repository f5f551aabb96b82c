"""RabbitMQ's management interface, as far as declaring and checking a topology needs it."""

from types import TracebackType
from typing import Any, Self
from urllib.parse import quote, unquote, urlsplit, urlunsplit

import aiohttp

from scheduler.errors import BrokerUnavailableError, ConfigurationError

TIMEOUT_S = 10.0
_NOT_FOUND = 404
_REFUSED = 400


class Management:
    """One vhost as seen over HTTP; an async context manager.

    ``url`` is ``http(s)://user:password@host:15672``; the user needs the tag ``policymaker`` or
    ``administrator``.
    """

    def __init__(self, url: str, vhost: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigurationError("management URL: http://user:password@host:15672 is expected")
        host = parts.netloc.rpartition("@")[2]
        self._base = urlunsplit((parts.scheme, host, parts.path.rstrip("/"), "", ""))
        self._vhost = quote(vhost, safe="")
        account = aiohttp.encode_basic_auth(unquote(parts.username or "guest"), unquote(parts.password or "guest"))
        timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
        self._http = aiohttp.ClientSession(headers={"Authorization": account}, timeout=timeout)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.close()

    async def is_cluster(self) -> bool:
        return len(await self._call("GET", "nodes") or []) > 1

    async def queues(self) -> dict[str, dict[str, Any]]:
        """Return each queue of the vhost by name, with ``type`` and ``arguments``."""
        return {row["name"]: row for row in await self._call("GET", f"queues/{self._vhost}") or []}

    async def bindings(self) -> set[tuple[str, str, str]]:
        """Return (exchange, queue, key) of each binding of a queue."""
        rows = await self._call("GET", f"bindings/{self._vhost}") or []
        return {
            (row["source"], row["destination"], row["routing_key"])
            for row in rows
            if row["destination_type"] == "queue" and row["source"]
        }

    async def policy(self, name: str) -> dict[str, Any] | None:
        return await self._call("GET", f"policies/{self._vhost}/{quote(name, safe='')}")  # type: ignore[no-any-return]

    async def set_policy(self, name: str, policy: dict[str, Any]) -> None:
        await self._call("PUT", f"policies/{self._vhost}/{quote(name, safe='')}", policy)

    async def has_user(self, name: str) -> bool:
        return await self._call("GET", f"users/{quote(name, safe='')}") is not None

    async def set_password(self, user: str, password: str) -> None:
        """Give ``user``, who is made if need be, this password and no part in the management interface."""
        await self._call("PUT", f"users/{quote(user, safe='')}", {"password": password, "tags": ""})

    async def set_rights(self, user: str, rights: dict[str, str]) -> None:
        """Set ``configure``, ``write`` and ``read`` of ``user`` in the vhost, in place of what there was."""
        await self._call("PUT", f"permissions/{self._vhost}/{quote(user, safe='')}", rights)

    async def set_topic_right(self, user: str, right: dict[str, str] | None) -> None:
        """Set the right of ``user`` on the topics of one exchange of the vhost; None: none is limited."""
        path = f"topic-permissions/{self._vhost}/{quote(user, safe='')}"
        await self._call("DELETE", path)
        if right is not None:
            await self._call("PUT", path, right)

    async def _call(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        """Return the answer's JSON; None for an empty answer and for what is not there."""
        try:
            async with self._http.request(method, f"{self._base}/api/{path}", json=body) as answer:
                if answer.status == _NOT_FOUND:
                    return None
                text = await answer.text()
                if answer.status >= _REFUSED:
                    raise ConfigurationError(f"management {self._base}: {method} {path}: {answer.status} {text[:200]}")
                return await answer.json() if text else None
        except (aiohttp.ClientError, TimeoutError) as error:
            raise BrokerUnavailableError(f"management {self._base} is not reachable: {error}") from error
