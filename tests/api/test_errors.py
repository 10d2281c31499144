"""Every error has its status, and one body in which each client finds the sentence."""

from __future__ import annotations

import json

import pytest

from gateway.api.errors import STATUS, answer_to, status_of
from gateway.domain import errors

SENTENCE = "Send less."


def every_error(kind=errors.GatewayError):
    yield kind
    for child in kind.__subclasses__():
        yield from every_error(child)


def test_every_error_of_the_domain_has_its_own_row():
    ours = {kind for kind in every_error() if kind.__module__ == errors.__name__}
    assert ours - STATUS.keys() == set()


def test_a_new_kind_of_error_has_the_status_of_its_parent():
    class TooBlue(errors.InvalidRequest):
        pass

    assert status_of(TooBlue("too blue")) == 422


def test_the_body_tells_the_sentence_wherever_a_client_looks():
    answer = answer_to(errors.RateLimited(SENTENCE, 12.2))
    assert json.loads(answer.body) == {
        "error": "RateLimited",
        "code": 429,
        "detail": SENTENCE,
        "body": "",
        "errors": SENTENCE,
        "message": SENTENCE,
    }
    assert answer.status_code == 429


def test_retry_after_is_the_true_wait_rounded_up():
    assert answer_to(errors.RateLimited(SENTENCE, 12.2)).headers["retry-after"] == "13"


def test_a_missing_key_is_asked_for():
    answer = answer_to(errors.Unauthenticated("A key is needed."))
    assert (answer.status_code, answer.headers["www-authenticate"].partition(" ")[0]) == (401, "Basic")


def test_a_field_at_fault_is_named_beside_the_sentence():
    body = json.loads(answer_to(errors.InvalidRequest(SENTENCE, "steps")).body)
    assert (body["detail"], body["errors"]) == (SENTENCE, [{"loc": ["body", "steps"], "msg": SENTENCE}])


def test_an_unknown_route_says_exactly_what_a_real_server_says():
    answer = answer_to(errors.RouteNotFound())
    assert (answer.status_code, answer.body) == (404, b'{"detail":"Not Found"}')


def test_an_unknown_sampler_says_exactly_what_clients_compare():
    answer = answer_to(errors.SamplerNotFound())
    assert (answer.status_code, json.loads(answer.body)["detail"]) == (404, "Sampler not found")


@pytest.mark.parametrize("kind", [errors.StoreUnavailable])
def test_a_store_that_is_away_is_a_503_with_retry_after(kind):
    answer = answer_to(kind(SENTENCE))
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
