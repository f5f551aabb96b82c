"""Which errors of the database throw a message away: only those that what was written will cause again."""

import asyncpg
import pytest

from scheduler.store.pool import unwell


@pytest.mark.parametrize(
    "error",
    [
        asyncpg.DiskFullError("no space left on device"),
        asyncpg.PostgresIOError("could not write"),
        asyncpg.InternalServerError("unexpected"),
        asyncpg.InvalidPasswordError("rotated"),
        asyncpg.UndefinedTableError("being restored"),
        asyncpg.ReadOnlySQLTransactionError("a standby"),
        asyncpg.DeadlockDetectedError("victim"),
        asyncpg.TooManyConnectionsError("full"),
        asyncpg.InterfaceError("connection is closed"),
        ConnectionRefusedError("nobody there"),
        TimeoutError(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_trouble_of_the_database_is_tried_again(error):
    assert unwell(error)


@pytest.mark.parametrize(
    "error",
    [
        asyncpg.CharacterNotInRepertoireError("NUL"),
        asyncpg.UniqueViolationError("twice"),
        asyncpg.CheckViolationError("rule"),
        asyncpg.CardinalityViolationError("two rows"),
        asyncpg.ProgramLimitExceededError("too large"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_the_data_cause_is_not(error):
    assert not unwell(error)
