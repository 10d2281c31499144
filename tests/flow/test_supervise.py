"""Loops that live as long as the process."""

from __future__ import annotations

import asyncio

import pytest

from gateway.domain.errors import StoreUnavailable
from gateway.flow.supervise import FAILURES_THAT_END, LoopsFailed, Supervisor

pytestmark = pytest.mark.virtual_time


async def test_a_failed_loop_starts_again_while_the_others_go_on():
    failures, turns = [], []

    async def fails_once():
        turns.append("fragile")
        if len(turns) == 1:
            raise ValueError("broken")
        await asyncio.sleep(3600)

    async def steady():
        await asyncio.sleep(3600)

    supervisor = Supervisor(lambda name, error: failures.append((name, str(error))))
    supervisor.add("fragile", fails_once)
    supervisor.add("steady", steady)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(60):
            await supervisor.run()
    assert failures == [("fragile", "broken")]
    assert [(state.name, state.restarts) for state in supervisor.states] == [("fragile", 1), ("steady", 0)]


async def test_what_a_loop_failed_of_is_kept_without_the_password_in_it():
    async def fails():
        raise OSError("cannot reach redis://user:abcdefgh@10.0.0.7:6379/0, password=abcdefgh")

    supervisor = Supervisor(lambda _name, _error: None)
    supervisor.add("hopeless", fails)
    with pytest.raises(LoopsFailed):
        await supervisor.run()
    assert supervisor.states[0].last_error == "OSError: cannot reach [url] password=[secret]"


async def test_a_loop_that_fails_five_times_in_a_minute_ends_them_all():
    async def always_fails():
        raise OSError("no store")

    stopped = []

    async def steady():
        try:
            await asyncio.sleep(3600)
        finally:
            stopped.append(True)

    supervisor = Supervisor(lambda _name, _error: None)
    supervisor.add("hopeless", always_fails)
    supervisor.add("steady", steady)
    with pytest.raises(LoopsFailed, match="hopeless failed 5 times"):
        await supervisor.run()
    assert stopped == [True]


async def test_failures_spread_over_hours_never_end_the_process():
    failures = []

    async def fails_every_minute():
        await asyncio.sleep(61)
        raise OSError("again")

    supervisor = Supervisor(lambda name, _error: failures.append(name))
    supervisor.add("fragile", fails_every_minute)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(3600):
            await supervisor.run()
    assert len(failures) > 10 * FAILURES_THAT_END


async def test_a_store_that_is_away_for_an_hour_never_ends_the_process_and_is_no_failure_of_a_loop():
    told, tries = [], []

    async def asks_the_store():
        tries.append(True)
        raise StoreUnavailable("away")

    supervisor = Supervisor(lambda name, _error: told.append(name))
    supervisor.add("heartbeat", asks_the_store)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(3600):
            await supervisor.run()
    assert len(tries) == pytest.approx(3600, abs=2)
    assert told == []
    assert supervisor.states[0].last_error == "StoreUnavailable: away"


async def test_loops_that_are_cancelled_all_end_and_none_is_started_again():
    ended = []

    async def steady():
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(True)

    supervisor = Supervisor(lambda _name, _error: None)
    supervisor.add("one", steady)
    supervisor.add("two", steady)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(10):
            await supervisor.run()
    assert (ended, [state.restarts for state in supervisor.states]) == ([True, True], [0, 0])


@pytest.mark.parametrize("swallows", [1, 3])
async def test_a_loop_whose_library_swallows_a_cancellation_ends_all_the_same(swallows):
    swallowed = []

    async def swallowing():
        while True:
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                swallowed.append(True)
                if len(swallowed) > swallows:
                    raise

    supervisor = Supervisor(lambda _name, _error: None)
    supervisor.add("stubborn", swallowing)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(10):
            await supervisor.run()
    assert asyncio.get_running_loop().time() == pytest.approx(10 + 0.5 * swallows, abs=0.1)
