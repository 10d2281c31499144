"""The whole path of a job, over the real flow, the stores' oracle and simulated SD.Next servers."""

from __future__ import annotations

import asyncio
import itertools
import json
import types
from dataclasses import replace

import pytest

from gateway.domain.errors import (
    Forbidden,
    GatewayError,
    GenerationFailed,
    InvalidRequest,
    NoCapacity,
    QuotaExceeded,
    RateLimited,
    StoreUnavailable,
    TooManyOutstanding,
    Unauthenticated,
)
from gateway.domain.jobs import Outcome
from gateway.domain.keys import digest_of
from gateway.ports import OptionChange
from tests.flow.world import CALLER, KEY, NOTHING_HELD, PLAN, now, running, until
from tests.support.fake_backends import BLUE, RED, sdnext
from tests.support.memory_own import MemoryOwn

pytestmark = pytest.mark.virtual_time


@types.coroutine
def cancelled_when_waiting(coroutine, points, waits):
    """Runs a coroutine and cancels its task at those of its waits whose number (from 1) is in `points`."""
    error = None
    while True:
        try:
            future = coroutine.send(None) if error is None else coroutine.throw(error)
        except StopIteration as done:
            return done.value
        waits.append(future)
        if len(waits) in points:
            asyncio.current_task().cancel()
        try:
            yield future
            error = None
        except BaseException as raised:  # noqa: BLE001 - handed on into the coroutine
            error = raised


async def cancelled_call(world, points, waits, **fields):
    """What became of one call: the result or the error of it."""

    async def call():
        return await cancelled_when_waiting(world.ask(**fields), points, waits)

    (outcome,) = await asyncio.gather(asyncio.get_running_loop().create_task(call()), return_exceptions=True)
    return outcome


async def test_a_call_gets_its_picture_and_everything_is_given_back():
    async with running() as world:
        served = await world.ask(seed=7)
        assert json.loads(json.loads(bytes(served.body))["info"])["seed"] == 7
        assert world.holdings() == NOTHING_HELD
        assert await world.outcomes() == [(Outcome.FINISHED, "a")]
        assert world.process.failures == []


async def test_options_posted_through_another_process_shape_the_next_call_here_and_cost_no_look_otherwise():
    async with running() as world:
        elsewhere = MemoryOwn(world.store, "two")
        await world.ask()  # this process has seen that nothing was posted
        for model in ("blue", "red"):  # the first would be refused without a model, the second with the first's
            await elsewhere.change_options(CALLER.key_id, OptionChange({"sd_model_checkpoint": model}, {}))
            for _ in range(3):
                served = await world.ask(sd_model_checkpoint="")
                assert json.loads(json.loads(bytes(served.body))["info"])["sd_model_name"] == model
        assert world.process.jobs.named("options") == [CALLER.key_id] * 3
        assert world.holdings() == NOTHING_HELD


@pytest.mark.parametrize("model", ["red", "blue"], ids=["at once", "after a swap in the queue"])
async def test_whatever_await_a_call_is_cancelled_at_nothing_stays_held_and_one_record_is_closed(model):
    async with running() as world:
        await world.ask(sd_model_checkpoint="red")
        for point in range(1, 200):
            waits: list[object] = []
            outcome = await cancelled_call(world, {point}, waits, sd_model_checkpoint=model, steps=1)
            assert await world.settle() == NOTHING_HELD, f"cancelled at wait {point}"
            records = await world.records()
            assert len(records) == len([job for job in world.store.jobs.values() if job.tenant == "t1"]), point
            if len(waits) < point:
                break
            assert isinstance(outcome, asyncio.CancelledError), f"at wait {point}: {outcome!r}"
            await world.ask(sd_model_checkpoint="red", steps=1)
        assert point > 4
        assert not isinstance(outcome, BaseException)
        assert world.process.failures == []


async def test_a_second_cancellation_at_any_await_after_the_first_leaves_nothing_held():
    async with running() as world:
        for first in range(1, 12):
            for second in range(first + 1, first + 4):
                waits: list[object] = []
                await cancelled_call(world, {first, second}, waits)
                assert await world.settle() == NOTHING_HELD, f"cancelled at waits {first} and {second}"
        ours = [job for job in world.store.jobs.values() if job.tenant == "t1"]
        assert len(await world.records()) == len(ours) > 10
        assert world.process.failures == []


@pytest.mark.parametrize("lost", ["enter", "leave", "requeue"])
async def test_an_answer_of_the_store_that_is_lost_leaves_nothing_held_and_one_record(lost):
    async with running({"a": sdnext(), "b": sdnext()}) as world:
        for server in world.backends.servers.values():
            server.arm_once("500")
        world.process.jobs.lost_answers.append(lost)
        (outcome,) = await asyncio.gather(world.asking(), return_exceptions=True)
        assert isinstance(outcome, GatewayError)
        assert await world.settle() == NOTHING_HELD
        assert len(await world.records()) == 1


# --- waiting ---------------------------------------------------------------------------------------


async def test_a_caller_who_leaves_while_waiting_is_withdrawn_at_once():
    async with running() as world:
        first = world.asking(steps=100)
        await until(lambda: world.store.slots)
        waiting = world.asking()
        await until(lambda: world.store.waiting)
        left_at = now()
        waiting.cancel()
        await asyncio.wait([waiting])
        assert (now() - left_at < 0.1, world.store.waiting) == (True, [])
        first.cancel()
        await asyncio.wait([first])
        assert Outcome.WITHDRAWN in [record.outcome for record in await world.records()]


async def test_a_deadline_gives_503_with_retry_after_and_everything_back():
    hurried = replace(CALLER, plan=replace(PLAN, max_wait_s=5.0))
    async with running(caller=hurried) as world:
        first = world.asking(steps=50)
        await until(lambda: world.store.slots)
        entered = now()
        with pytest.raises(NoCapacity) as refused:
            await world.ask()
        assert now() - entered == pytest.approx(5.0, abs=0.1)
        assert refused.value.retry_after_s > 0
        assert world.store.waiting == []
        await first
        assert sorted(await world.outcomes()) == [(Outcome.EXPIRED, ""), (Outcome.FINISHED, "a")]


@pytest.mark.parametrize("shift_ms", range(-8, 9))
async def test_a_grant_that_arrives_about_the_deadline_is_used_or_given_back(shift_ms):
    async with running() as world:
        first = world.asking(steps=4)
        await until(lambda: world.store.slots)
        began = now()
        done_at = began + 4.0 - (began - world.store.slots["a"].since_us / 1e6 + 1.8e9)
        wait_s = done_at - now() + shift_ms / 1000
        world.keys.callers[digest_of(KEY)] = replace(CALLER, plan=replace(PLAN, max_wait_s=wait_s))
        await world.process.jobs.keys_changed()
        (outcome,) = await asyncio.gather(world.asking(steps=1), return_exceptions=True)
        await first
        assert not isinstance(outcome, BaseException) or isinstance(outcome, NoCapacity)
        assert await world.settle() == NOTHING_HELD
        ended = [outcome for outcome, _ in await world.outcomes()]
        assert sorted(ended) == sorted(
            [Outcome.FINISHED, Outcome.EXPIRED if isinstance(outcome, NoCapacity) else Outcome.FINISHED]
        )


async def test_two_calls_that_wait_in_one_process_are_woken_each_by_its_own_grant():
    async with running({"a": sdnext(RED), "b": sdnext(BLUE)}) as world:
        busy = [world.asking(sd_model_checkpoint="red", steps=10), world.asking(sd_model_checkpoint="blue", steps=30)]
        await until(lambda: len(world.store.slots) == 2)
        red = world.asking(sd_model_checkpoint="red", steps=1)
        blue = world.asking(sd_model_checkpoint="blue", steps=1)
        began, ended = now(), {}
        for name, call in (("red", red), ("blue", blue)):
            call.add_done_callback(lambda _, name=name: ended.update({name: now() - began}))
        await asyncio.gather(*busy, red, blue)
        assert ended == {"red": pytest.approx(11, abs=0.5), "blue": pytest.approx(31, abs=0.5)}


async def test_a_word_of_a_grant_that_is_lost_is_found_by_looking():
    async with running() as world:
        first = world.asking(steps=3)
        await until(lambda: world.store.slots)
        second = world.asking(steps=1)
        await until(lambda: world.store.waiting)
        mailbox = world.store.mailboxes["one"]
        while not first.done():
            await asyncio.sleep(0.0005)
            mailbox.woken.clear()  # the connection that carried the word broke
        while world.store.waiting:
            await asyncio.sleep(0.0005)
            mailbox.woken.clear()
        began = now()
        await second
        assert now() - began < 3.0


# --- running ---------------------------------------------------------------------------------------


async def test_a_caller_who_leaves_while_running_has_the_backend_interrupted_and_keeps_the_slot_until_it_stops():
    async with running() as world:
        call = world.asking(steps=100)
        await until(lambda: world.store.slots)
        await asyncio.sleep(3)
        call.cancel()
        (outcome,) = await asyncio.gather(call, return_exceptions=True)
        assert isinstance(outcome, asyncio.CancelledError)
        assert len(world.backends["a"].received("interrupt")) == 1
        assert world.holdings() == NOTHING_HELD
        assert await world.outcomes() == [(Outcome.INTERRUPTED, "a")]


async def test_while_a_checkpoint_loads_the_interrupt_is_repeated_every_second_and_the_slot_stays_taken():
    async with running({"a": sdnext(swap_seconds=10.0)}) as world:
        call = world.asking(sd_model_checkpoint="blue", steps=100)
        await until(lambda: world.store.slots)
        await asyncio.sleep(2)
        left_at = now()
        call.cancel()
        second = world.asking(sd_model_checkpoint="blue", steps=1)
        await until(call.done)
        stopped_at = now()
        interrupts = [entry["at"] for entry in world.backends["a"].received("interrupt")]
        assert stopped_at - left_at == pytest.approx(8, abs=1.5)
        assert len(interrupts) >= 8
        assert [later - sooner for sooner, later in itertools.pairwise(interrupts)] == pytest.approx(
            [1.0] * (len(interrupts) - 1), abs=1.0
        )
        assert max(interrupts) <= stopped_at  # never after our own POST has returned
        await second
        assert world.backends["a"].engine.counters.most_in_flight < 5
        posts = world.backends["a"].received("txt2img")
        assert posts[1]["at"] >= posts[0]["at"] + posts[0]["seconds"]


async def test_a_caller_who_left_after_it_began_is_counted_its_seconds_but_no_pictures():
    async with running() as world:
        call = world.asking(steps=100)
        await until(lambda: world.store.slots)
        await asyncio.sleep(20)
        call.cancel()
        await asyncio.wait([call])
        (record,) = await world.records()
        assert (record.images, record.gpu_seconds) == (0, pytest.approx(20, abs=1.5))


async def test_a_backend_that_does_not_stop_when_its_caller_left_keeps_its_slot_until_it_is_quiet():
    async with running() as world:
        world.backends["a"].arm_once("hang")
        call = world.asking(steps=4)
        await until(lambda: world.store.slots)
        call.cancel()
        await asyncio.sleep(60)
        assert (call.done(), [slot.is_recovering for slot in world.store.slots.values()]) == (False, [False])
        await until(call.done, within_s=600)  # the run limit
        assert [slot.is_recovering for slot in world.store.slots.values()] == [True]
        assert await world.settle() == NOTHING_HELD
        assert call.cancelled()


def asked_of(server):
    """What callers asked of it; the gateway's own probes have no prompt."""
    return [entry for entry in server.received("txt2img") if entry["body"] is None or entry["body"]["prompt"]]


# --- attempts --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fault", ["500", "empty", "wrong-model", "reset", "cut-json", "bad-utf8", "html", "gzip", "401", "429"]
)
async def test_a_failed_attempt_is_retried_once_elsewhere(fault):
    async with running({"a": sdnext(), "b": sdnext()}) as world:
        world.backends["a"].arm_once(fault)
        await world.ask()
        sent = {name: len(asked_of(server)) for name, server in world.backends.servers.items()}
        assert sent == {"a": 1, "b": 1}
        (record,) = await world.records()
        assert (record.outcome, record.backend, record.attempts) == (Outcome.FINISHED, "b", 2)
        assert await world.settle() == NOTHING_HELD


async def test_a_job_that_fails_on_two_backends_is_a_500_with_the_reason_and_is_not_tried_a_third_time():
    async with running({"a": sdnext(), "b": sdnext(), "c": sdnext()}) as world:
        for server in world.backends.servers.values():
            server.arm("500")
        with pytest.raises(GenerationFailed, match="failed"):
            await world.ask()
        assert sum(len(server.received("txt2img")) for server in world.backends.servers.values()) == 2
        (record,) = await world.records()
        assert (record.outcome, record.attempts) == (Outcome.FAILED, 2)
        assert await world.settle() == NOTHING_HELD


async def test_a_failed_attempt_is_never_repeated_on_the_only_backend():
    async with running() as world:
        world.backends["a"].arm_once("500")
        with pytest.raises(GenerationFailed):
            await world.ask()
        assert len(world.backends["a"].received("txt2img")) == 1
        assert await world.settle() == NOTHING_HELD


async def test_after_a_time_out_nothing_is_retried_and_the_slot_comes_back_when_the_backend_is_quiet():
    async with running({"a": sdnext(), "b": sdnext()}) as world:
        world.backends["a"].arm_once("hang")
        with pytest.raises(GenerationFailed, match="no answer within"):
            await world.ask()
        assert world.backends["b"].received("txt2img") == []
        assert world.store.slots["a"].is_recovering
        assert await world.settle() == NOTHING_HELD
        assert world.backends["a"].received("interrupt") != []


async def test_a_refused_connection_is_retried_elsewhere_and_that_backend_gets_nothing_until_it_is_back():
    async with running({"a": sdnext(), "b": sdnext()}) as world:
        world.backends["a"].is_refusing = True
        served = await asyncio.gather(*(world.asking(steps=1) for _ in range(4)))
        assert len(served) == 4
        assert world.store.states["a"] == "down"
        world.backends["a"].is_refusing = False
        await until(lambda: world.store.states["a"] == "up")
        assert len(world.backends["a"].received("txt2img")) == 0


async def test_a_failure_after_the_deadline_is_told_and_not_retried():
    hurried = replace(CALLER, plan=replace(PLAN, max_wait_s=3.0))
    async with running({"a": sdnext(), "b": sdnext()}, caller=hurried) as world:
        world.backends["a"].arm_once("cut-json")  # after the work was done
        with pytest.raises(GenerationFailed):
            await world.ask(steps=10)
        assert world.backends["b"].received("txt2img") == []
        assert await world.settle() == NOTHING_HELD
        assert await world.outcomes() == [(Outcome.FAILED, "a")]


async def test_a_deadline_while_waiting_for_the_second_attempt_tells_what_failed():
    hurried = replace(CALLER, plan=replace(PLAN, max_wait_s=10.0))
    async with running({"a": sdnext(RED), "b": sdnext(BLUE, RED)}, caller=hurried) as world:
        other = world.asking(sd_model_checkpoint="blue", steps=100)
        await until(lambda: world.store.slots)
        world.backends["a"].arm_once("500")
        began = now()
        with pytest.raises(GenerationFailed):
            await world.ask()
        assert now() - began == pytest.approx(10, abs=0.1)
        other.cancel()
        await asyncio.wait([other])
        assert await world.settle() == NOTHING_HELD
        assert sorted(await world.outcomes()) == [(Outcome.FAILED, "a"), (Outcome.INTERRUPTED, "b")]


async def test_a_request_that_is_the_callers_fault_is_refused_without_a_retry():
    async with running({"a": sdnext(), "b": sdnext()}) as world:
        with pytest.raises(InvalidRequest):
            await world.ask(steps="many")
        assert all(server.received("txt2img") == [] for server in world.backends.servers.values())
        assert world.holdings() == NOTHING_HELD


# --- admission -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("limits", "error"),
    [
        ({"requests_per_minute": 1.0, "burst": 1}, RateLimited),
        ({"images_per_day": 1}, QuotaExceeded),
        ({"max_concurrency": 1, "max_queued": 0}, (TooManyOutstanding, NoCapacity)),
    ],
)
async def test_a_refused_call_holds_nothing_and_says_when_to_come_again(limits, error):
    async with running(caller=replace(CALLER, plan=replace(PLAN, **limits))) as world:
        first = world.asking(steps=5)
        await until(lambda: world.store.slots)
        with pytest.raises(error) as refused:
            await world.ask()
        assert refused.value.retry_after_s > 0
        assert len(world.store.of()) == 1
        await first
        assert world.holdings() == NOTHING_HELD
        assert len(await world.records()) == 1


async def test_keys_that_changed_between_look_up_and_enter_are_looked_up_again():
    async with running() as world:
        await world.ask(steps=1)
        asked = world.keys.asked
        await world.process.jobs.keys_changed()
        await world.ask(steps=1)
        assert world.keys.asked == asked + 1


async def test_a_key_revoked_while_it_is_looked_up_admits_nothing():
    """The database answered before the revocation, the heartbeat brought its epoch before the look-up was through."""
    async with running() as world:
        world.keys.takes_s = 5.0
        call = world.asking(steps=1)
        await asyncio.sleep(1)
        world.keys.callers.clear()
        await world.process.jobs.keys_changed()
        await until(lambda: world.process.epoch.current == world.store.epoch)
        (outcome,) = await asyncio.gather(call, return_exceptions=True)
        assert isinstance(outcome, Unauthenticated)
        assert world.store.of() == []
        assert await world.records() == []


async def test_a_key_revoked_while_the_call_is_on_its_way_to_the_store_admits_nothing():
    async with running() as world:
        await world.ask(steps=1)
        call = world.asking(steps=1)
        await asyncio.sleep(0)  # the caller is known, the script is on its way
        world.keys.callers.clear()
        await world.process.jobs.keys_changed()
        (outcome,) = await asyncio.gather(call, return_exceptions=True)
        assert isinstance(outcome, Unauthenticated)
        assert len(await world.records()) == 1


async def test_keys_that_never_stop_changing_end_in_a_503():
    async with running() as world:
        entering = world.process.jobs

        async def change_for_ever():
            while True:
                await entering.keys_changed()
                await asyncio.sleep(0.0005)

        changing = asyncio.get_running_loop().create_task(change_for_ever())
        with pytest.raises(NoCapacity, match="being changed"):
            await world.ask()
        changing.cancel()
        assert world.store.of() == []


async def test_before_any_backend_was_seen_a_call_is_told_to_come_again():
    async with running(ready=False) as world:
        with pytest.raises(NoCapacity, match="No backend has been seen"):
            await world.ask()


async def test_a_store_that_is_away_refuses_and_holds_nothing():
    async with running() as world:
        await world.ask(steps=1)
        world.process.jobs.is_away = True
        with pytest.raises(StoreUnavailable):
            await world.ask()
        assert len(world.process.held) == 0


async def test_an_expired_key_is_refused_before_anything_is_taken():
    async with running(caller=replace(CALLER, expires_at=-1.0)) as world:
        with pytest.raises(Forbidden):
            await world.ask()
        assert world.process.jobs.named("enter") == []


# --- leaving ---------------------------------------------------------------------------------------


async def test_leaving_while_the_store_is_away_is_repeated_under_the_same_operation_id():
    async with running() as world:
        call = world.asking(steps=5)
        await until(lambda: world.store.slots)
        await asyncio.sleep(1)
        world.process.jobs.is_away = True
        served = await call  # the picture is there, whatever the store does
        assert served.body
        assert (world.process.way_out.unheard, len(world.process.held)) == (1, 1)
        world.process.jobs.is_away = False
        assert await world.settle() == NOTHING_HELD
        assert await world.outcomes() == [(Outcome.FINISHED, "a")]


async def test_a_leaving_whose_answer_was_lost_is_repeated_and_changes_nothing_twice():
    async with running() as world:
        world.process.jobs.lost_answers.append("leave")
        await world.ask(steps=1)
        assert await world.settle() == NOTHING_HELD
        first, second = world.process.jobs.named("leave")[-2:]
        assert first == second
        assert await world.outcomes() == [(Outcome.FINISHED, "a")]


async def test_each_admitted_job_has_its_line_in_the_log_without_prompt_or_key():
    async with running() as world:
        await world.ask(prompt="a secret garden", steps=1)
        (line,) = world.process.log.calls
        assert (line["outcome"], line["backend"], line["request_id"]) == ("finished", "a", "req-1")
        assert "garden" not in str(line)
        assert KEY not in str(line)
