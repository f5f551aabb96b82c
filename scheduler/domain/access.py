"""Who may do what: roles, actions, and the one function that decides."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from scheduler.errors import ForeignError, NotPermittedError


class Role(StrEnum):
    """What somebody is in a tenant. Each may all that the one before may."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    AUTHOR = "author"
    ADMIN = "admin"


class Action(StrEnum):
    """A kind of thing to do; every route of the HTTP interface names one."""

    VIEW = "view"
    """Read jobs, runs, firings and what they wrote."""
    OPERATE = "operate"
    """Start, cancel, retry, pause; change no definition."""
    DEFINE = "define"
    """Change definitions: on a tenant's executors that is to run code."""
    ADMINISTER = "administer"
    """See who did what, and who may."""
    RUN_POOLS = "run_pools"
    """Change what all tenants share: pools and their queues."""


_LEAST: Final = {
    Action.VIEW: Role.VIEWER,
    Action.OPERATE: Role.OPERATOR,
    Action.DEFINE: Role.AUTHOR,
    Action.ADMINISTER: Role.ADMIN,
    Action.RUN_POOLS: Role.ADMIN,
}
_RANK: Final = {role: rank for rank, role in enumerate(Role)}


@dataclass(frozen=True, slots=True)
class Caller:
    """Somebody who has proved who they are."""

    tenant: str
    name: str
    roles: frozenset[Role]
    credential: str
    """What they proved it by, without the secret: what is written down."""
    runs_installation: bool = False
    """Of the tenant to which what all tenants share belongs."""

    @property
    def account(self) -> str:
        """What its requests are counted by: two tenants may have subjects of the same name."""
        return f"{self.tenant} {self.credential}"


@dataclass(frozen=True, slots=True)
class Target:
    """What something is to be done to. ``tenant`` is None for what all tenants share."""

    name: str
    tenant: str | None


def may(caller: Caller, action: Action) -> bool:
    """Return whether the roles of ``caller`` are enough for ``action`` on what is theirs."""
    rank = max((_RANK[role] for role in caller.roles), default=-1)
    return rank >= _RANK[_LEAST[action]] and (action is not Action.RUN_POOLS or caller.runs_installation)


def authorize(caller: Caller, action: Action, target: Target) -> None:
    """Return if ``caller`` may do ``action`` to ``target``.

    Raises:
        ForeignError: it is another tenant's; that it is there is none of the caller's business.
        NotPermittedError: it is theirs, and they may not.
    """
    if target.tenant is not None and target.tenant != caller.tenant:
        raise ForeignError(f"there is no {target.name}")
    if not may(caller, action):
        needed = "an admin of the operator's tenant" if action is Action.RUN_POOLS else f"role {_LEAST[action]}"
        raise NotPermittedError(f"{caller.name} may not {action.replace('_', ' ')} {target.name}: that needs {needed}")
