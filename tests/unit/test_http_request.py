from uuid import UUID

import pytest

from scheduler.sandbox.environment import UnusableOrderError
from scheduler.sandbox.http_request import make_request
from schemas.work import HttpWork

RUN = UUID("0192e4a0-0000-7000-8000-000000000001")


def request(secrets=None, **fields):
    work = HttpWork.model_validate({"kind": "http", "url": "https://a.example/x", **fields})
    return make_request(work, secrets or {}, run_id=RUN, now_s=1614265330.9)


def test_secrets_stand_where_their_marks_stood():
    made = request(
        {"KEY": "<m URL>", "URL": "https://b.example/hook"},
        secret_mark="m",
        url="<m URL>/1",
        headers={"Authorization": "Bearer <m KEY>"},
        json_body={"<m KEY>": ["<m KEY>", "<n KEY>", 1]},
    )

    assert str(made.url) == "https://b.example/hook/1"
    assert made.headers["Authorization"] == "Bearer <m URL>"
    assert made.data == b'{"<m KEY>": ["<m URL>", "<n KEY>", 1]}'


@pytest.mark.parametrize(
    "fields",
    [
        {"url": "https://b.example/<m KEY>", "secret_mark": "m"},
        {"headers": {"X": "<m BREAK>"}, "secret_mark": "m"},
        {"url": "<m BREAK>", "secret_mark": "m"},
        {"url": "https://<m BREAK>:x@h/", "secret_mark": "m"},
        {"sign_with": "KEY"},
        {"sign_with": "BREAK"},
    ],
)
def test_what_cannot_be_sent_says_no_value(fields):
    with pytest.raises(UnusableOrderError) as caught:
        request({"BREAK": "canary\r\nX: y"}, **fields)
    assert "canary" not in str(caught.value)


def test_a_signature_is_that_of_standard_webhooks():
    """Key, body and time of the example in its specification, with our id; the digest by openssl."""
    made = request({"HOOK": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}, body='{"test": 2432232314}', sign_with="HOOK")

    assert (made.headers["webhook-id"], made.headers["webhook-timestamp"]) == (str(RUN), "1614265330")
    assert made.headers["webhook-signature"] == "v1,C3GVkr74dIqjPkhILeNIfDSO3DHFPtRW54an9nXOFC8="


@pytest.mark.parametrize(
    ("method", "status", "becomes", "keeps_body"),
    [
        ("POST", 301, "GET", False),
        ("POST", 302, "GET", False),
        ("PUT", 302, "PUT", True),
        ("PUT", 303, "GET", False),
        ("POST", 307, "POST", True),
        ("POST", 308, "POST", True),
    ],
)
def test_a_redirect_within_the_origin_keeps_headers(method, status, becomes, keeps_body):
    made = request(method=method, json_body={}, headers={"X-Key": "k"}).redirected(status, "/y?z=1")

    assert (made.method, str(made.url), made.data) == (
        becomes,
        "https://a.example/y?z=1",
        b"{}" if keeps_body else None,
    )
    assert made.headers["X-Key"] == "k"
    assert ("Content-Type" in made.headers) is keeps_body


def test_a_redirect_to_another_origin_takes_nothing_along():
    made = request(method="GET", headers={"X-Key": "k", "User-Agent": "me"}).redirected(302, "https://b.example/")

    assert set(made.headers) == {"User-Agent"}
    assert made.headers["User-Agent"] != "me"


@pytest.mark.parametrize(
    ("status", "location"),
    [
        (302, None),
        (302, "http://a.example/x"),
        (307, "https://b.example/"),
        (308, "https://a.example:8443/"),
        (302, "ftp://a.example/"),
        (302, "https://user:pw@a.example/"),
        (302, "//user:pw@a.example/"),
        (302, "https://[::1"),
    ],
)
def test_redirects_that_are_not_followed(status, location):
    with pytest.raises(UnusableOrderError):
        request(method="POST", body="x").redirected(status, location)
