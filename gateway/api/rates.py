"""The rate of generations, as headers tell it (draft-ietf-httpapi-ratelimit-headers)."""

from __future__ import annotations

import math

from gateway.domain.errors import CapacityError, RateLimited
from gateway.domain.plans import Plan


def rate_headers(plan: Plan, remaining: int, reset_s: float) -> dict[str, str]:
    """The plan's rate, and what is left of it: `remaining` calls now, all of the burst again in `reset_s`."""
    return {**_policy(plan), "RateLimit": f'"requests";r={remaining};t={math.ceil(reset_s)}'}


def refused_rate_headers(plan: Plan, error: CapacityError) -> dict[str, str]:
    """The same on a refusal. What is left of the rate is known only when it was the rate that refused: nothing."""
    if isinstance(error, RateLimited):
        return rate_headers(plan, 0, error.retry_after_s)
    return _policy(plan)


def _policy(plan: Plan) -> dict[str, str]:
    window_s = max(1, round(60 * plan.burst / plan.requests_per_minute))
    return {"RateLimit-Policy": f'"requests";q={plan.burst};w={window_s}'}
