"""Where nobody would be asked who they are, nothing listens: exit 78 and one line why, before anything is opened."""

import subprocess
import sys
from collections.abc import Callable

import pytest

from tests.support.cli import ROOT

Cli = Callable[..., tuple[int, str, str]]
SECRET = "0123456789abcdef0123456789abcdef-of-the-test"
SERVERS = {"DATABASE_URL": "postgresql://127.0.0.1:9/x", "AMQP_URL": "amqp://127.0.0.1:9/"}


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"HTTP__HOST": "0.0.0.0"}, "set http.auth"),
        ({"HTTP__HOST": "::"}, "set http.auth"),
        ({"HTTP__HOST": "scheduler.example.com"}, "set http.auth"),
        ({"HTTP__AUTH": "jwt"}, "set jwt.issuer"),
        ({"HTTP__AUTH": "jwt", "JWT__ISSUER": "x"}, "exactly one of jwt.secret and jwt.jwks_url"),
        (
            {"HTTP__AUTH": "jwt", "JWT__ISSUER": "x", "JWT__SECRET": SECRET, "JWT__JWKS_URL": "https://x/keys"},
            "exactly one of jwt.secret and jwt.jwks_url",
        ),
        ({"JWT__SECRET": "short"}, "at least 32 random bytes"),
        ({"JWT__SECRET": "a" * 64}, "at least 32 random bytes"),
        ({"JWT__JWKS_URL": "http://issuer.example.com/keys"}, "https:// only"),
        ({"JWT__JWKS_URL": "file:///etc/passwd"}, "allowed are https://, http://"),
        ({"HTTP__AUTH": "password"}, "http.auth"),
    ],
)
@pytest.mark.parametrize("command", [("start", "ingress"), ("up",)])
def test_what_is_not_safe_does_not_start(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, settings: dict[str, str], says: str, command: tuple[str, ...]
) -> None:
    for name, value in {**SERVERS, **{f"SCHEDULER_{name}": value for name, value in settings.items()}}.items():
        monkeypatch.setenv(name, value)

    code, out, err = cli(*command)

    assert (78, "") == (code, out)
    assert says in err
    assert err.count("\n") == 1
    assert SECRET not in err


def test_the_framework_is_loaded_by_nobody_who_serves_nothing() -> None:
    """It costs half a second and 20 MB; so may the store, the wiring and every command be imported without."""
    heavy = "{'fastapi', 'starlette', 'uvicorn', 'jwt', 'cryptography'}"
    program = f"import sys, scheduler.cli.main, scheduler.wiring, scheduler.serving; print({heavy} & set(sys.modules))"
    said = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)

    assert said.stdout == "set()\n"
