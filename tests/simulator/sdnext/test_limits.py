from __future__ import annotations

import asyncio
import contextlib

from hypothesis import given
from hypothesis import strategies as st

from gateway.simulator.sdnext.failures import RateLimited
from gateway.simulator.sdnext.limits import RateLimiter, Threads
from tests.support.patience import PATIENCE_S


def taken(limiter: RateLimiter, now: float, limit: object = 10) -> bool:
    try:
        limiter.check("1.2.3.4", "/sdapi/v1/txt2img", limit, now)
    except RateLimited:
        return False
    return True


@given(st.lists(st.floats(0, 300), max_size=60).map(sorted))
def test_no_minute_ever_sees_more_than_the_limit(times: list[float]) -> None:
    limiter = RateLimiter()
    granted = [now for now in times if taken(limiter, now)]

    for start in granted:
        assert sum(5 for now in granted if start <= now < start + 60) <= 10


def test_a_refused_call_is_not_counted() -> None:
    limiter = RateLimiter()
    first = [taken(limiter, now) for now in (0, 1, 2, 59)]

    assert first == [True, True, False, False]
    assert taken(limiter, 60.5)


def test_zero_or_a_value_of_a_wrong_type_is_no_limit() -> None:
    limiter = RateLimiter()

    assert all(taken(limiter, 0, limit) for limit in (0, "many", None) for _ in range(20))


async def test_a_thread_is_given_back_also_when_its_request_fails() -> None:
    threads, held = Threads(1), 0
    for _ in range(3):
        with contextlib.suppress(ValueError):
            async with asyncio.timeout(PATIENCE_S), threads.one():
                held += 1
                raise ValueError

    assert held == 3
