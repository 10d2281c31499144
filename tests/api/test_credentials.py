"""The key in a request's headers, in every form that clients are known to send."""

from __future__ import annotations

from base64 import b64encode, urlsafe_b64encode

import pytest
from starlette.requests import Request

from gateway.api.credentials import caller_of, credential_of, presented
from gateway.domain.errors import Unauthenticated
from gateway.domain.keys import Caller, digest_of
from gateway.domain.plans import Plan
from gateway.flow.authenticate import Authenticator, Epoch, Origin

KEY = "sk-demo_key-0123456789"


def basic(text: str) -> str:
    return "Basic " + b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    "value",
    [
        f"Bearer {KEY}",
        f"bearer {KEY}",
        f"Bearer   {KEY} ",
        basic(f"user:{KEY}"),
        basic(f":{KEY}"),
        basic(f"{KEY}:"),
        basic(f"{KEY}:x"),
        basic(f"{KEY}:api"),
        basic(f"{KEY}:token"),
        basic(f"{KEY}:undefined"),
        basic(f"{KEY}:None"),
        basic(KEY),
        basic(f"user:{KEY}").replace("Basic", "bAsIc"),
        basic(f"user:{KEY}").rstrip("="),
        "Basic " + urlsafe_b64encode(f"??>>:{KEY}".encode()).decode(),
        f"Basic {KEY}",
        KEY,
    ],
)
def test_every_form_of_authorization_yields_the_key(value):
    assert credential_of({"authorization": value}) == KEY


@pytest.mark.parametrize(
    "value",
    ["", "Basic", "Basic ", basic(""), basic("undefined"), basic("None:None"), basic("null:null"), basic(":")],
)
def test_what_clients_send_for_nothing_is_no_credential(value):
    assert credential_of({"authorization": value}) is None


def test_an_empty_authorization_leaves_the_word_to_x_api_key():
    assert credential_of({"authorization": "Basic ", "x-api-key": KEY}) == KEY


JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJwcm94eSJ9.c2lnbmF0dXJl"
OTHER = "sk-another-key-0123456789"


@pytest.mark.parametrize(
    ("authorization", "api_key", "counts"),
    [
        (basic("proxy:its-own-password"), KEY, KEY),
        (basic("proxy:its:own:password"), KEY, KEY),
        (basic("its-own-password"), KEY, KEY),
        (f"Bearer {JWT}", KEY, KEY),
        ("Basic !!!not-base64!!!", KEY, KEY),
        (basic(f"{KEY}:its-own-password"), None, KEY),
        (basic(f"{OTHER}:{KEY}"), None, KEY),
        (basic(f"u:{OTHER}"), KEY, OTHER),
        (f"Bearer {OTHER}", KEY, OTHER),
        (f"Bearer {KEY}", "undefined", KEY),
        (basic("proxy:its-own-password"), None, "its-own-password"),
        (basic("proxy:its-own-password"), "mistyped", "its-own-password"),
        (f"Bearer {JWT}", None, JWT),
        (basic("x:None"), "null", None),
        ("Bearer undefined", "", None),
    ],
)
def test_a_proxys_own_password_or_token_beside_a_key_is_passed_over(authorization, api_key, counts):
    headers = {"authorization": authorization} | ({} if api_key is None else {"x-api-key": api_key})
    assert credential_of(headers) == counts


def test_basic_counts_before_x_api_key():
    assert credential_of({"authorization": basic(f"u:{KEY}"), "x-api-key": "sk-another-key-0123456789"}) == KEY


@pytest.mark.parametrize("value", ["Basic !!!not-base64!!!", "Basic //79", "Digest abc", "Negotiate xyz"])
def test_what_cannot_be_read_is_no_credential(value):
    assert credential_of({"authorization": value}) is None


# --- from a request -------------------------------------------------------------------------------


def request(path_key=None, client=("192.0.2.1", 4711), **headers):
    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return Request({"type": "http", "headers": raw, "client": client, "state": {"path_key": path_key}})


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (request(authorization=f"Bearer {KEY}"), (KEY, Origin("192.0.2.1"))),
        (request("sk-in-path"), ("sk-in-path", Origin("192.0.2.1", is_in_path=True))),
        (request("sk-in-path", authorization="Basic "), ("sk-in-path", Origin("192.0.2.1", is_in_path=True))),
        (request("sk-in-path", x_api_key=KEY), (KEY, Origin("192.0.2.1"))),
        (request(OTHER, x_api_key=KEY), (KEY, Origin("192.0.2.1"))),
        (request(KEY, authorization=basic("proxy:its-own-password")), (KEY, Origin("192.0.2.1", is_in_path=True))),
        (request("no-key", authorization=basic("proxy:password")), ("password", Origin("192.0.2.1"))),
        (request(client=None), (None, Origin(""))),
    ],
)
def test_a_credential_comes_with_where_it_came_from_and_headers_count_before_the_path(asked, expected):
    assert presented(asked) == expected


class Keys:
    """A key store with one key."""

    async def find_caller(self, digest):
        return Caller("k1", "sk-demo_", "t1", "Tenant", Plan()) if digest == digest_of(KEY) else None


async def test_the_caller_is_left_with_the_request_for_whoever_answers_it():
    ours = Authenticator(Keys(), Epoch(), lambda: 0.0)
    asked = request(x_api_key=KEY)
    assert await caller_of(asked, ours) is asked.state.caller
    assert asked.state.auth_s >= 0


async def test_of_an_unknown_key_no_caller_is_left():
    asked = request(x_api_key=KEY + "x")
    with pytest.raises(Unauthenticated):
        await caller_of(asked, Authenticator(Keys(), Epoch(), lambda: 0.0))
    assert not hasattr(asked.state, "caller")
