"""The keys of an issuer that is slow, away, or back: who waits for it, and how often it is asked."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519

from scheduler.api.jwks import KeySet
from scheduler.clock import VirtualClock
from scheduler.errors import TransientError

KEY = ed25519.Ed25519PrivateKey.generate().public_key()
KNOWN = {**jwt.algorithms.OKPAlgorithm.to_jwk(KEY, as_dict=True), "kid": "one"}
BODY = json.dumps({"keys": [KNOWN]}).encode()
PART = 16 * 1024


class Issuer:
    """Answers with its keys, or that it is away, or keeps silent; counts how often it was asked."""

    def __init__(self) -> None:
        self.asked = 0
        self.is_away = False
        self.may_answer = asyncio.Event()
        self.came = asyncio.Event()
        self.port = 0
        self.body = BODY

    async def answer(self, reading: asyncio.StreamReader, writing: asyncio.StreamWriter) -> None:
        self.asked += 1
        self.came.set()
        try:
            await reading.readuntil(b"\r\n\r\n")
            await self.may_answer.wait()
            if self.is_away:
                writing.write(b"HTTP/1.1 503 Away\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
                return
            writing.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n")
            for at in range(0, len(self.body), PART):
                part = self.body[at : at + PART]
                writing.write(b"%x\r\n%s\r\n" % (len(part), part))
                await writing.drain()
            writing.write(b"0\r\n\r\n")
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writing.close()


@asynccontextmanager
async def issuing() -> AsyncIterator[tuple[Issuer, KeySet, VirtualClock]]:
    issuer, clock = Issuer(), VirtualClock(datetime(2026, 3, 1, tzinfo=UTC))
    issuer.may_answer.set()
    server = await asyncio.start_server(issuer.answer, "127.0.0.1", 0)
    issuer.port = server.sockets[0].getsockname()[1]
    try:
        yield issuer, KeySet(f"http://127.0.0.1:{issuer.port}/keys", clock), clock
    finally:
        issuer.may_answer.set()
        server.close()
        await server.wait_closed()


async def test_a_stranger_who_has_the_keys_fetched_keeps_nobody_waiting() -> None:
    async with issuing() as (issuer, keys, clock):
        assert await keys.find("one", "EdDSA") is not None
        issuer.may_answer.clear()
        issuer.came.clear()
        await clock.advance(timedelta(minutes=2))
        stranger = asyncio.create_task(keys.find("nobody's", "EdDSA"))
        await asyncio.wait_for(issuer.came.wait(), 5)

        async with asyncio.timeout(1):
            assert await keys.find("one", "EdDSA") is not None
        assert not stranger.done()
        issuer.may_answer.set()
        assert await stranger is None
        assert issuer.asked == 2


async def test_an_issuer_that_is_away_is_not_asked_by_every_request() -> None:
    async with issuing() as (issuer, keys, clock):
        issuer.is_away = True
        found = await asyncio.gather(*(keys.find("one", "EdDSA") for _ in range(50)), return_exceptions=True)
        assert {type(one) for one in found} == {TransientError}
        assert issuer.asked == 1

        issuer.is_away = False
        await clock.advance(timedelta(seconds=3))
        assert await keys.find("one", "EdDSA") is not None


async def test_keys_that_cannot_be_fetched_again_are_good_for_a_day() -> None:
    async with issuing() as (issuer, keys, clock):
        await keys.find("one", "EdDSA")
        issuer.is_away = True
        await clock.advance(timedelta(hours=23))
        for _ in range(10):
            assert await keys.find("one", "EdDSA") is not None
        assert issuer.asked == 2, "once a minute at most"

        await clock.advance(timedelta(hours=2))
        with pytest.raises(TransientError):
            await keys.find("one", "EdDSA")
        issuer.is_away = False
        await clock.advance(timedelta(minutes=2))
        assert await keys.find("one", "EdDSA") is not None


@pytest.mark.parametrize(("kid", "algorithm"), [(7, "EdDSA"), ("one", None), (["one"], "EdDSA")])
async def test_what_is_no_id_has_nothing_fetched(kid: object, algorithm: object) -> None:
    async with issuing() as (issuer, keys, _):
        assert await keys.find(kid, algorithm) is None
        assert issuer.asked == 0


async def test_a_long_set_is_read_to_its_end_and_one_without_end_is_not() -> None:
    odd = [{"kty": ["RSA"]}, {**KNOWN, "kid": ["two"]}, {"kty": "RSA", "n": 5}, "no key"]
    padding = [{"kty": "EC", "x5c": ["A" * 1000]}] * 150
    async with issuing() as (issuer, keys, clock):
        issuer.body = json.dumps({"keys": [*odd, *padding, KNOWN]}).encode()
        assert await keys.find("one", "EdDSA") is not None

        issuer.body = json.dumps({"keys": [*padding, *padding, {**KNOWN, "kid": "later"}]}).encode()
        await clock.advance(timedelta(minutes=2))
        assert await keys.find("later", "EdDSA") is None
        assert await keys.find("one", "EdDSA") is not None
        assert issuer.asked == 2
