"""The generation routes: bodies, callers who leave, and what the headers of an answer tell."""

from __future__ import annotations

import asyncio

import pytest

from gateway.api.errors import CallerLeft
from gateway.api.sdapi import answer_of, while_connected
from gateway.domain.errors import NoCapacity
from gateway.domain.keys import Caller
from gateway.domain.plans import Plan
from gateway.domain.replies import AnswerBody
from gateway.flow.job import Timing
from gateway.flow.serve import Served
from gateway.ports import RateState
from tests.api.support import GONE, request_with

CALLER = Caller("k1", "sk-aaaaa", "t1", "Tenant", Plan(requests_per_minute=60, burst=20))


async def test_work_that_ends_is_the_result_and_nobody_watches_any_more():
    before = asyncio.all_tasks()

    async def work():
        return "done"

    assert await while_connected(request_with(), work()) == "done"
    assert asyncio.all_tasks() == before


async def test_an_error_of_the_work_comes_as_itself():
    error = NoCapacity("No.", 1.0)

    async def work():
        raise error

    with pytest.raises(NoCapacity) as caught:
        await while_connected(request_with(), work())
    assert caught.value is error


@pytest.mark.parametrize("failure", [None, RuntimeError("while it ended")])
async def test_when_the_caller_leaves_the_work_is_cancelled_and_ends_first(failure):
    ended = []

    async def work():
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(True)
            if failure:
                raise failure

    with pytest.raises(CallerLeft) as caught:
        await while_connected(request_with(GONE), work())
    assert (ended, caught.value.__cause__) == ([True], failure)


def test_an_answer_tells_where_the_time_went_and_its_parts_are_all_of_it():
    timing = Timing(queue_s=1.0, swap_s=2.0, generation_s=3.0)
    served = Served(AnswerBody(()), "j-1", ("steps 200 -> 150",), timing, RateState(19, 0.5), CALLER)
    headers = answer_of(served, {"all": 7.5, "auth": 0.25, "body": 0.75}).headers
    assert headers["server-timing"] == (
        "auth;dur=250.0, body;dur=750.0, queue;dur=1000.0, swap;dur=2000.0, generate;dur=3000.0, gateway;dur=500.0"
    )
    assert (headers["x-job-id"], headers["x-gateway-adjusted"]) == ("j-1", "steps 200 -> 150")
    assert (headers["ratelimit"], headers["ratelimit-policy"]) == ('"requests";r=19;t=1', '"requests";q=20;w=20')
