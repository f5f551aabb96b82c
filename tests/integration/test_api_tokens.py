"""Tokens: what an issuer may say, and everything a forger tries."""

import json
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import jwt
import pytest
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa

from scheduler.clock import VirtualClock
from scheduler.store.revoked_tokens import TokenMark, list_revoked, revoke_tokens
from tests.support.api import serving

SECRET = "0123456789abcdef0123456789abcdef-of-the-test"
ISSUER = "https://issuer.example.com"
HS256 = {"http": {"auth": "jwt"}, "jwt": {"issuer": ISSUER, "secret": SECRET}}
LIMITS = {"per_second": 10_000, "failures_per_minute": 100_000}


def claims(**others: Any) -> dict[str, Any]:
    now = int(time.time())
    good = {"iss": ISSUER, "aud": "scheduler", "sub": "ann", "iat": now, "exp": now + 600}
    return {
        name: value
        for name, value in (good | {"tenant": "default", "roles": ["operator"]} | others).items()
        if value is not None
    }


def token(
    key: Any = SECRET, algorithm: str | None = "HS256", headers: Mapping[str, Any] | None = None, **of: Any
) -> str:
    return jwt.encode(claims(**of), key, algorithm=algorithm, headers=dict(headers or {}))


def twice() -> str:
    """A token with a claim given twice, rightly signed."""
    head, _, _ = token().split(".")
    text = json.dumps(claims())[:-1] + ', "tenant": "other"}'
    body = jwt.utils.base64url_encode(text.encode()).decode()
    mac = jwt.algorithms.HMACAlgorithm(jwt.algorithms.HMACAlgorithm.SHA256).sign(
        f"{head}.{body}".encode(), SECRET.encode()
    )
    return f"{head}.{body}.{jwt.utils.base64url_encode(mac).decode()}"


async def test_a_token_says_tenant_and_roles(database_url: str) -> None:
    async with serving(database_url, **HS256) as api:
        answers = {
            "view": await api.get("/api/v1/jobs", key=token()),
            "operate": await api.post("/api/v1/jobs/none/run", key=token()),
            "define": await api.ask("DELETE", "/api/v1/jobs/none", key=token()),
            "no role": await api.get("/api/v1/jobs", key=token(roles=["owner"])),
            "audience in a list": await api.get("/api/v1/jobs", key=token(aud=["x", "scheduler"])),
            "a key": await api.get("/api/v1/jobs", key=await api.key("admin")),
        }

        assert {name: answer.status for name, answer in answers.items()} == {
            "view": 200, "operate": 404, "define": 403, "no role": 403, "audience in a list": 200, "a key": 401,
        }  # fmt: skip


async def test_who_has_the_same_name_in_another_tenant_is_somebody_else(database_url: str) -> None:
    async with serving(database_url, http={"auth": "jwt", "per_second": 1}, jwt=HS256["jwt"]) as api:
        api.site.clock = VirtualClock(datetime.now(UTC))  # it stands still: nobody gets more to ask meanwhile
        busy = [(await api.get("/api/v1/jobs", key=token())).status for _ in range(8)]

        assert 429 in busy
        assert 200 == (await api.get("/api/v1/jobs", key=token(tenant="other"))).status
        assert 200 == (await api.get("/api/v1/jobs", key=token(sub="bob"))).status


OWN = {"kty": "oct", "k": jwt.utils.base64url_encode(b"k" * 40).decode()}
FORGED = {
    "no signature": lambda: token("", "none"),
    "another secret": lambda: token(SECRET[::-1]),
    "another algorithm": lambda: token(SECRET * 2, "HS512"),
    "no exp": lambda: token(exp=None),
    "no iat": lambda: token(iat=None),
    "no sub": lambda: token(sub=None),
    "no tenant": lambda: token(tenant=None),
    "expired": lambda: token(exp=int(time.time()) - 60),
    "not yet": lambda: token(nbf=int(time.time()) + 600),
    "issued in the future": lambda: token(iat=int(time.time()) + 600),
    "for ever": lambda: token(exp=10**18),
    "too long": lambda: token(exp=int(time.time()) + 7200),
    "exp as text": lambda: token(exp=str(int(time.time()) + 600)),
    "another audience": lambda: token(aud="else"),
    "another issuer": lambda: token(iss="https://evil.example.com"),
    "a wild tenant": lambda: token(tenant="a' OR 1=1 --"),
    "a tenant of another type": lambda: token(tenant=5),
    "roles as text": lambda: token(roles="admin"),
    "an id of another type": lambda: token(jti=5),
    "crit": lambda: token(headers={"crit": ["exp"]}),
    "another typ": lambda: token(headers={"typ": "secevent+jwt"}),
    "a key of its own": lambda: token("k" * 40, headers={"jwk": OWN, "jku": "https://evil.example.com"}),
    "a kid that is a path": lambda: token("x", "HS256", headers={"kid": "../../../dev/null"}),
    "a claim twice": twice,
    "three dots": lambda: "a.b.c",
    "letters": lambda: "x" * 50,
    "very long": lambda: token(sub="a" * 250, more="b" * 9000),
}


@pytest.mark.filterwarnings("ignore::jwt.warnings.InsecureKeyLengthWarning")
async def test_a_forged_token_is_refused(database_url: str) -> None:
    async with serving(database_url, http={"auth": "jwt"} | LIMITS, jwt=HS256["jwt"]) as api:
        found = {name: (await api.get("/api/v1/jobs", key=make())).status for name, make in FORGED.items()}

        assert {} == {name: status for name, status in found.items() if status != 401}


async def test_a_token_is_revoked_by_its_id_or_with_all_of_its_subject(database_url: str) -> None:
    async with serving(database_url, http={"auth": "jwt"} | LIMITS, jwt=HS256["jwt"]) as api:
        made = {
            "one": token(jti="t-1"),
            "another": token(jti="t-2"),
            "of bob": token(sub="bob", jti="t-3"),
            "of bob, without an id": token(sub="bob"),
            "of bob, by a clock that is ahead": token(sub="bob", iat=int(time.time()) + 20),
        }

        async def refused() -> set[str]:
            answers = {name: (await api.get("/api/v1/jobs", key=key)).status for name, key in made.items()}
            assert set(answers.values()) <= {200, 401}
            return {name for name, status in answers.items() if status == 401}

        before = await refused()
        await revoke_tokens(api.stores.main, TokenMark.ID, "t-1")
        one = await refused()
        await revoke_tokens(api.stores.main, TokenMark.SUBJECT, "bob")
        both = await refused()
        await revoke_tokens(api.stores.main, TokenMark.SUBJECT, "t-2")

        assert before == set()
        assert one == {"one"}
        assert both == {"one", "of bob", "of bob, without an id", "of bob, by a clock that is ahead"}
        assert await refused() == both, "an id is no subject"
        found = await list_revoked(api.stores.main)
        await api.db.execute("UPDATE revoked_tokens SET revoked_at = revoked_at - interval '90 s' WHERE value = 'bob'")
        assert await refused() == {"one"}, "what is issued after it, by more than clocks may differ, is good"
        assert [(row["kind"], row["value"]) for row in found] == [("subject", "t-2"), ("subject", "bob"), ("id", "t-1")]
        await api.db.execute("UPDATE revoked_tokens SET revoked_at = now() - interval '800 days'")
        await revoke_tokens(api.stores.main, TokenMark.ID, "t-1")
        assert 1 == await api.db.fetchval("SELECT count(*) FROM revoked_tokens"), "of tokens that are long over"


async def test_public_keys_are_fetched_kept_and_looked_up_by_id_alone(database_url: str) -> None:
    ours, theirs = rsa.generate_private_key(65537, 2048), rsa.generate_private_key(65537, 2048)
    edwards = ed25519.Ed25519PrivateKey.generate()
    keys = [
        _jwk(jwt.algorithms.RSAAlgorithm, ours.public_key(), "one"),
        _jwk(jwt.algorithms.OKPAlgorithm, edwards.public_key(), "two"),
        {"kty": "oct", "kid": "three", "k": "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0"},
    ]
    async with _issuer(keys) as (url, asked), _served(database_url, url) as api:
        good = {
            "rsa": token(ours, "RS256", {"kid": "one"}),
            "edwards": token(edwards, "EdDSA", {"kid": "two"}),
        }
        bad = {
            "theirs": token(theirs, "RS256", {"kid": "one"}),
            "unknown": token(ours, "RS256", {"kid": "nine"}),
            "no kid": token(ours, "RS256"),
            "wrong family": token(edwards, "EdDSA", {"kid": "one"}),
            "shared secret": token(SECRET, "HS256", {"kid": "three"}),
            "their address": token(theirs, "RS256", {"kid": "one", "jku": url}),
        }

        assert {200} == {(await api.get("/api/v1/jobs", key=one)).status for one in good.values()}
        assert {401} == {(await api.get("/api/v1/jobs", key=one)).status for one in bad.values()}
        assert len(asked) == 1


async def test_without_the_keys_of_the_issuer_nobody_is_judged(database_url: str) -> None:
    async with _served(database_url, "http://127.0.0.1:9/keys") as api:
        answer = await api.get("/api/v1/jobs", key=token(rsa.generate_private_key(65537, 2048), "RS256", {"kid": "x"}))

        assert (answer.status, answer.headers["Retry-After"]) == (503, "2")


def _served(database_url: str, url: str) -> Any:
    return serving(database_url, http={"auth": "jwt"} | LIMITS, jwt={"issuer": ISSUER, "jwks_url": url})


def _jwk(algorithm: Any, key: Any, kid: str) -> dict[str, Any]:
    return {**algorithm.to_jwk(key, as_dict=True), "kid": kid, "use": "sig"}


@asynccontextmanager
async def _issuer(keys: list[dict[str, Any]]) -> AsyncIterator[tuple[str, list[str]]]:
    asked: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(request.path)
        return web.json_response({"keys": keys})

    application = web.Application()
    application.router.add_get("/keys", answer)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/keys", asked
    finally:
        await runner.cleanup()
