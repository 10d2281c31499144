"""What headers tell of the rate."""

from __future__ import annotations

from gateway.api.rates import rate_headers, refused_rate_headers
from gateway.domain.errors import QuotaExceeded, RateLimited
from gateway.domain.plans import Plan

PLAN = Plan(requests_per_minute=60, burst=20)
POLICY = '"requests";q=20;w=20'


def test_an_answer_tells_the_policy_and_what_is_left_rounded_to_the_safe_side():
    assert rate_headers(PLAN, 7, 12.1) == {"RateLimit-Policy": POLICY, "RateLimit": '"requests";r=7;t=13'}


def test_a_refusal_by_the_rate_tells_that_nothing_is_left_and_for_how_long():
    told = refused_rate_headers(PLAN, RateLimited("Wait.", 0.4))
    assert told == {"RateLimit-Policy": POLICY, "RateLimit": '"requests";r=0;t=1'}


def test_a_refusal_by_another_limit_claims_nothing_of_the_rate():
    assert refused_rate_headers(PLAN, QuotaExceeded("Tomorrow.", 9_000.0)) == {"RateLimit-Policy": POLICY}


def test_a_window_is_never_no_time_at_all():
    told = refused_rate_headers(Plan(requests_per_minute=1e9, burst=1), QuotaExceeded("Tomorrow.", 1.0))
    assert told == {"RateLimit-Policy": '"requests";q=1;w=1'}
