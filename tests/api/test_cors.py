"""What pages of other sites are told."""

from __future__ import annotations

import pytest

from gateway.api.cors import Cors

APP, OTHER = b"https://app.example", b"https://other.example"


def allowed_origin(cors, origin):
    return dict(cors.headers(origin)).get(b"access-control-allow-origin")


@pytest.mark.parametrize("origin", [None, b"null", APP])
def test_by_default_every_page_may_read_every_answer(origin):
    assert allowed_origin(Cors(), origin) == b"*"


def test_named_origins_may_and_others_may_not_and_caches_are_told():
    cors = Cors(("https://app.example/", "http://localhost:3000"))
    assert allowed_origin(cors, APP) == APP
    assert allowed_origin(cors, b"http://localhost:3000") == b"http://localhost:3000"
    for origin in (OTHER, b"https://app.example.evil.example", b"none", None):
        assert cors.headers(origin) == [(b"vary", b"Origin")]


@pytest.mark.parametrize("origin", [None, b"none", APP])
def test_none_means_no_page_at_all(origin):
    assert Cors(("none",)).headers(origin) == []


def test_the_browser_never_adds_credentials_of_its_own():
    told = Cors((APP.decode(),)).headers(APP) + Cors().preflight({})
    assert b"access-control-allow-credentials" not in dict(told)


def test_a_page_may_read_every_header_of_ours():
    exposed = dict(Cors().headers(None))[b"access-control-expose-headers"].lower()
    for name in (b"x-request-id", b"x-job-id", b"retry-after", b"ratelimit", b"server-timing", b"x-gateway-adjusted"):
        assert name in exposed.split(b", ")


def test_a_preflight_allows_ours_and_what_is_asked_for():
    asked = {b"access-control-request-headers": b"content-type, X-Of-A-Client,bad name,"}
    names = dict(Cors().preflight(asked))[b"access-control-allow-headers"].split(b", ")
    assert names == [b"authorization", b"content-type", b"x-api-key", b"x-request-id", b"prefer", b"x-of-a-client"]


def test_a_preflight_cannot_make_the_answer_long():
    asked = {b"access-control-request-headers": b",".join(b"x-%d" % number for number in range(10_000))}
    assert len(dict(Cors().preflight(asked))[b"access-control-allow-headers"]) < 1_000


def test_a_private_network_is_allowed_when_the_browser_asks():
    asked = {b"access-control-request-private-network": b"true"}
    assert dict(Cors().preflight(asked))[b"access-control-allow-private-network"] == b"true"
    assert b"access-control-allow-private-network" not in dict(Cors().preflight({}))
