"""Addresses: what kind they may be, and which ways to a database are worth a warning."""

import pytest

from scheduler.domain.addresses import DATABASE_SCHEMES, check_scheme, database_warning


@pytest.mark.parametrize("url", ["foo://me:hunter2@db/x", "/var/run/postgresql", "db", "postgresql://db:port/x"])
def test_what_is_no_database_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(ValueError, match=r"allowed are postgresql://, postgres://|[Pp]ort") as caught:
        check_scheme(url, DATABASE_SCHEMES)

    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "mode", "warned"),
    [
        ("postgresql://db.example.com/x", None, True),
        ("postgresql://me:pw@10.0.0.5/x?sslmode=prefer", None, True),
        ("postgresql://db.example.com/x?sslmode=require", "verify-full", True),
        ("postgresql:///x?host=one,two", None, True),
        ("postgresql://db.example.com/x?sslmode=verify-full", None, False),
        ("postgresql://db.example.com/x", "verify-full", False),
        ("postgresql://db/x?sslmode=disable", None, False),
        ("postgresql://127.0.0.1/x", None, False),
        ("postgresql://[::1]:5432/x", None, False),
        ("postgresql://localhost/x", None, False),
        ("postgresql:///x?host=/run/postgresql", None, False),
    ],
)
def test_a_remote_database_is_to_be_verified_or_declared_private(url: str, mode: str | None, *, warned: bool) -> None:
    assert (database_warning(url, mode) is not None) is warned


def test_the_warning_names_the_host_and_not_the_password() -> None:
    warning = database_warning("postgresql://me:hunter2hunter2@db.example.com/x") or ""

    assert "db.example.com" in warning
    assert "hunter2" not in warning
