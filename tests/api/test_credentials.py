"""The key in a request's headers, in every form that clients are known to send."""

from __future__ import annotations

from base64 import b64encode, urlsafe_b64encode

import pytest

from gateway.api.credentials import credential_of

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


def test_basic_counts_before_x_api_key():
    assert credential_of({"authorization": basic(f"u:{KEY}"), "x-api-key": "sk-another-key-0123456789"}) == KEY


@pytest.mark.parametrize("value", ["Basic !!!not-base64!!!", "Basic //79", "Digest abc", "Negotiate xyz"])
def test_what_cannot_be_read_is_no_credential(value):
    assert credential_of({"authorization": value}) is None
