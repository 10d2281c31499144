from __future__ import annotations

from gateway.simulator.sdnext.failures import Crashed, EarlyAnswer, RateLimited, model_search_offline


def test_a_crash_names_the_exceptions_class_and_has_an_empty_detail() -> None:
    assert Crashed("IndexError", "list index out of range").body == {
        "error": "IndexError",
        "code": 500,
        "detail": "",
        "body": "",
        "errors": "list index out of range",
    }


def test_a_rate_limit_names_address_and_path() -> None:
    assert RateLimited("10.0.0.1", "/x").body["errors"] == "429: 10.0.0.1:/x: rate limit exceeded"


def test_an_early_answer_is_only_its_error() -> None:
    assert (EarlyAnswer(400, "Init image is none").status, EarlyAnswer(400, "x").body) == (400, {"error": "x"})


def test_a_search_for_a_model_escapes_its_name() -> None:
    assert "search=acme%2Fno-such-model&sort" in model_search_offline("acme/no-such-model").body["errors"]
