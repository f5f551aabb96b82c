"""Who may do what, decided in one place."""

import itertools

import pytest

from scheduler.domain.access import Action, Caller, Role, Target, authorize, may
from scheduler.errors import NotFoundError, NotPermittedError


def caller(*roles: Role, tenant: str = "ours", of_all: bool = False) -> Caller:
    return Caller(tenant, "ann", frozenset(roles), "key 1", of_all)


def test_each_role_may_all_that_the_one_before_may() -> None:
    allowed = [{action for action in Action if may(caller(role, of_all=True), action)} for role in Role]

    assert all(less < more for less, more in itertools.pairwise(allowed))
    assert allowed[-1] == set(Action)


def test_nobody_without_a_role_may_anything() -> None:
    assert not any(may(caller(of_all=True), action) for action in Action)


@pytest.mark.parametrize("action", Action)
def test_what_is_another_tenants_is_not_there_for_an_admin_either(action: Action) -> None:
    with pytest.raises(NotFoundError):
        authorize(caller(Role.ADMIN, of_all=True), action, Target("job a", "theirs"))


def test_what_all_tenants_share_is_for_admins_of_the_operators_tenant() -> None:
    authorize(caller(Role.ADMIN, of_all=True), Action.RUN_POOLS, Target("pool a", None))
    for other in (caller(Role.ADMIN), caller(Role.AUTHOR, of_all=True)):
        with pytest.raises(NotPermittedError, match="operator's tenant"):
            authorize(other, Action.RUN_POOLS, Target("pool a", None))
