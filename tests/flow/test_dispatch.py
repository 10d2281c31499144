"""The dispatcher over the stores' oracle: leading, handing over, losing no ticket."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.errors import StoreUnavailable
from gateway.domain.jobs import Outcome
from gateway.domain.scheduling import BackendView, Running, Ticket
from gateway.flow.dispatch import RECOVERING, Dispatcher, scheduler_with, ticket_bytes, ticket_of, views_of
from gateway.ports import Entry, Leaving, PoolChanges, PoolNews, SlotView, WaitingJob
from tests.flow.world import NOTHING_HELD, DistantJobs, LoopStore, now, running, until
from tests.support.fake_backends import sdnext

pytestmark = pytest.mark.virtual_time


def ticket(job_id, *, backends=("a", "b"), checkpoint="red", tenant="t1", cap=8):
    return Ticket(job_id, tenant, checkpoint, frozenset(backends), 0.0, 1.0, cap)


def entry(job_id, *, backends=("a", "b"), checkpoint="red", tenant="t1", cap=8, store):
    return Entry(
        operation_id=f"enter {job_id}",
        job_id=job_id,
        tenant_id=tenant,
        epoch=store.epoch,
        checkpoint=checkpoint,
        runnable_on=tuple(backends),
        max_concurrency=cap,
        max_queued=100,
        static=b'{"tenant_id":"t1","key_id":"k1","operation":"txt2img"}',
        ticket=ticket_bytes(ticket(job_id, backends=backends, checkpoint=checkpoint, tenant=tenant, cap=cap)),
    )


async def stores(*backends, processes=1):
    store = LoopStore()
    ours = [DistantJobs(store, f"p{number}") for number in range(processes)]
    await ours[0].beat(0)
    await ours[0].poll(from_scratch=True)  # while nobody leads, nobody knows that a backend is up
    await ours[0].publish("up", PoolNews(states=dict.fromkeys(backends, "up")))
    return store, ours


def leaving(job_id):
    return Leaving(f"leave {job_id}", job_id, Outcome.FINISHED)


@given(
    st.builds(
        Ticket,
        job_id=st.text(),
        tenant=st.text(),
        checkpoint=st.text(),
        runnable_on=st.frozensets(st.text()),
        arrived_at=st.floats(0, 1e10),
        work=st.floats(0, 1e9),
        tenant_cap=st.integers(0, 10**6),
        tenant_weight=st.floats(0.01, 100),
    )
)
def test_a_ticket_survives_the_store_whole(original):
    assert ticket_of(WaitingJob(original.job_id, original.arrived_at, ticket_bytes(original))) == original


async def test_a_waiting_job_is_granted_and_its_process_is_told():
    store, (jobs,) = await stores("a")
    await jobs.enter(entry("j1", store=store))
    dispatcher = Dispatcher(jobs)
    assert await dispatcher.step()
    assert (await jobs.next_message(1.0)).granted.backend == "a"
    assert not await dispatcher.step()


async def test_of_two_processes_one_leads_and_the_other_stands_by():
    _, (first, second) = await stores("a", processes=2)
    ours, others = Dispatcher(first), Dispatcher(second)
    await ours.step()
    await others.step()
    assert (ours.is_leading, others.is_leading, others.pool) == (True, False, None)


async def test_a_lost_lease_hands_over_with_every_ticket():
    store, (first, second) = await stores("a", processes=2)
    ours, others = Dispatcher(first), Dispatcher(second)
    for number in range(3):
        await first.enter(entry(f"j{number}", store=store))
    await ours.step()
    await asyncio.sleep(10)  # the leader is frozen for longer than its lease
    assert not await others.step()  # the backend is taken
    await second.publish("looked", PoolNews(states={"a": "up"}))
    assert (others.is_leading, await ours.step(), ours.is_leading) == (True, False, False)
    for expected in ("j0", "j1", "j2"):
        assert (await first.next_message(1.0)).job_id == expected
        await first.leave(leaving(expected))
        await others.step()
    assert store.of() == []


async def test_a_leader_that_was_deposed_between_its_look_and_its_decision_grants_nothing():
    store, (first, second) = await stores("a", processes=2)
    ours, others = Dispatcher(first), Dispatcher(second)
    await ours.step()
    await first.enter(entry("j1", store=store))
    first.slow["poll"] = 10.0  # frozen just after its look
    stepping = asyncio.get_running_loop().create_task(ours.step())
    await asyncio.sleep(5)
    await others.step()
    await second.publish("looked", PoolNews(states={"a": "up"}))
    await others.step()
    assert (await stepping, ours.is_leading) == (False, False)
    assert Counter(store.jobs[job].state for job in store.jobs) == {"running": 1}


async def test_what_the_script_refused_waits_on_and_is_granted_later():
    store, (jobs,) = await stores("a")
    dispatcher = Dispatcher(jobs)
    await dispatcher.step()
    await jobs.enter(entry("j1", store=store))
    jobs.slow["poll"] = 1.0
    stepping = asyncio.get_running_loop().create_task(dispatcher.step())
    await asyncio.sleep(0.5)
    await jobs.hold("upkeep", "upkeep-1", "a")  # after the look, before the decision
    await stepping
    jobs.slow.clear()
    assert store.waiting == ["j1"]
    assert not await dispatcher.step()
    await jobs.leave(leaving("upkeep-1"))
    assert await dispatcher.step()
    assert store.jobs["j1"].state == "running"


async def test_a_refused_ticket_that_left_meanwhile_is_not_kept():
    store, (jobs,) = await stores("a")
    dispatcher = Dispatcher(jobs)
    await dispatcher.step()
    await jobs.enter(entry("j1", store=store))
    jobs.slow["poll"] = 1.0
    stepping = asyncio.get_running_loop().create_task(dispatcher.step())
    await asyncio.sleep(0.5)
    await jobs.hold("upkeep", "upkeep-1", "a")
    await stepping
    jobs.slow.clear()
    await jobs.leave(leaving("j1"))
    await jobs.leave(leaving("upkeep-1"))
    assert not await dispatcher.step()
    assert dispatcher._tickets == {}
    assert dispatcher._put_back == []


@pytest.mark.parametrize("word", ["gone", "taken"])
async def test_after_a_grant_that_could_not_be_carried_out_the_next_in_line_is_served_and_nothing_false_is_learned(
    word,
):
    store, (jobs,) = await stores("a")
    dispatcher = Dispatcher(jobs)
    await jobs.hold("first", "upkeep-0", "a")
    for number in range(1, 4):
        await jobs.enter(entry(f"j{number}", store=store))
    assert not await dispatcher.step()
    await jobs.leave(leaving("upkeep-0"))
    jobs.slow["poll"] = 1.0
    stepping = asyncio.get_running_loop().create_task(dispatcher.step())
    await asyncio.sleep(0.5)  # after the look, before the decision
    if word == "gone":
        await jobs.leave(leaving("j1"))
    else:
        await jobs.hold("second", "upkeep-1", "a")
    await stepping
    jobs.slow.clear()
    if word == "taken":
        await jobs.leave(leaving("upkeep-1"))
    for _ in range(3):
        await asyncio.sleep(1)
        await dispatcher.step()
    expected = {"gone": ["j2", "j3"], "taken": ["j1", "j2", "j3"]}[word]
    assert store.slots["a"].job_id == expected[0]
    assert [ticket.job_id for ticket in dispatcher._scheduler.waiting] == expected[1:]
    assert dispatcher._scheduler.dump()["speeds"] == []


async def test_while_a_store_that_lost_data_grants_nothing_it_is_asked_once_a_second_and_no_more_often():
    store, (jobs,) = await stores("a")
    store.lose_everything()
    await jobs.beat(0)
    await jobs.poll(from_scratch=True)
    await jobs.publish("up again", PoolNews(states={"a": "up"}))
    await jobs.enter(entry("j1", store=store))
    dispatching = asyncio.get_running_loop().create_task(Dispatcher(jobs).run())
    await asyncio.sleep(8)
    assert store.waiting == ["j1"]
    assert 6 <= len(jobs.named("grant")) <= 9
    await asyncio.sleep(4)
    assert store.slots["a"].job_id == "j1"
    dispatching.cancel()


async def test_a_backend_that_recovers_after_its_job_is_not_granted_again_and_again():
    store, (jobs,) = await stores("a")
    dispatcher = Dispatcher(jobs)
    await dispatcher.step()
    for number in range(2):
        await jobs.enter(entry(f"j{number}", store=store))
    await dispatcher.step()
    await jobs.leave(replace(leaving("j0"), is_abandoned=True))
    assert not await dispatcher.step()
    assert store.slots["a"].is_recovering
    assert jobs.named("grant") == [[("j0", "a")]]


async def test_an_error_of_the_store_throws_the_view_away_and_the_next_one_is_whole():
    store, (jobs,) = await stores("a")
    dispatcher = Dispatcher(jobs)
    await jobs.enter(entry("j1", store=store))
    jobs.lost_answers.append("poll")
    with pytest.raises(StoreUnavailable):
        await dispatcher.run()
    assert (dispatcher.is_leading, dispatcher.pool) == (False, None)
    assert await dispatcher.step()
    assert store.jobs["j1"].state == "running"


async def test_a_grant_whose_answer_was_lost_is_neither_lost_nor_done_twice():
    store, (jobs,) = await stores("a", "b")
    dispatcher = Dispatcher(jobs)
    await jobs.enter(entry("j1", store=store))
    jobs.lost_answers.append("grant")
    with pytest.raises(StoreUnavailable):
        await dispatcher.run()
    await dispatcher.step()
    assert [slot.job_id for slot in store.slots.values()] == ["j1"]


async def test_a_leader_that_resigned_is_followed_at_once():
    _, (first, second) = await stores("a", processes=2)
    await Dispatcher(first).step()
    await first.resign()
    others = Dispatcher(second)
    await others.step()
    assert others.is_leading


async def test_a_removed_backend_gets_nothing_any_more():
    store, (jobs,) = await stores("a", "b")
    dispatcher = Dispatcher(jobs)
    await dispatcher.step()
    await jobs.publish("gone", PoolNews(removed=("a",)))
    await dispatcher.step()
    await jobs.enter(entry("j1", store=store, backends=("a",)))
    assert not await dispatcher.step()
    assert store.waiting == ["j1"]


def test_a_recovering_slot_counts_for_no_tenant_and_is_not_free():
    slots = {"a": SlotView("a", "j", "t1", 1.0, True, "m"), "b": SlotView("b", "k", "t1", 1.0, False, "n")}
    changes = PoolChanges(5.0, True, (), (), slots, {"b": "red"}, {"a": "up", "b": "up", "c": "down"})
    views = {view.name: view for view in views_of(changes, {}, {})}
    assert {name: view.is_free for name, view in views.items()} == {"a": False, "b": False, "c": False}
    assert views["a"].running is not None
    assert (views["a"].running.tenant, views["b"].running.tenant, views["b"].loaded) == (RECOVERING, "t1", "red")


def test_of_a_job_it_granted_itself_the_scheduler_knows_more_than_its_slot_says():
    slots = {"a": SlotView("a", "j", "t1", 1.0, False, "m"), "b": SlotView("b", "other", "t1", 1.0, False, "n")}
    changes = PoolChanges(5.0, False, (), (), slots, {"a": "red"}, {"a": "up", "b": "up"})
    own = Running("j", "t1", "red", 1.0, work=7.0, charged_s=3.0)
    known = {name: BackendView(name, "red", usable=True, running=own) for name in ("a", "b")}
    views = {view.name: view.running for view in views_of(changes, known, {})}
    assert views["a"] == own
    assert views["b"] == Running("other", "t1", "", 1.0)


async def test_what_a_tenant_has_used_and_how_fast_a_backend_is_outlive_the_leader():
    store, (first, second) = await stores("a", processes=2)
    dispatcher = Dispatcher(first)
    await dispatcher.step()
    for number in range(2):
        await first.enter(entry(f"j{number}", store=store, backends=("a",), cap=1))
    store.loaded["a"] = "red"
    for _ in range(20):  # a leader looks every second, else it loses its lease
        await dispatcher.step()
        await asyncio.sleep(1)
    await first.leave(leaving("j0"))
    for _ in range(12):
        await dispatcher.step()
        await asyncio.sleep(1)
    learned = dispatcher._scheduler.dump()
    await first.resign()
    successor = Dispatcher(second)
    await successor.step()
    assert ["generation", "a", "red"] in [row[:3] for row in learned["speeds"]]
    assert successor._scheduler.dump() == learned


async def test_a_job_granted_because_another_ended_is_known_whole_and_its_backend_is_granted_once():
    store, (jobs,) = await stores("a")
    store.loaded["a"] = "red"
    dispatcher = Dispatcher(jobs)
    for number in range(3):
        await jobs.enter(entry(f"j{number}", store=store))
    await dispatcher.step()
    await jobs.leave(leaving("j0"))
    await dispatcher.step()
    second = dispatcher._scheduler.backends["a"].running
    assert (second.job_id, second.work) == ("j1", 1.0)
    assert second.charged_s > 0
    assert jobs.named("grant") == [[("j1", "a")]]
    assert [ticket.job_id for ticket in dispatcher._scheduler.waiting] == ["j2"]


@pytest.mark.parametrize("memory", [b"", b"nonsense", b"[]", b'{"speeds": 7}', b'{"accounts": "x"}'])
def test_a_memory_that_cannot_be_read_is_a_fresh_start(memory):
    assert scheduler_with(memory).dump() == scheduler_with(b"").dump()


async def test_forty_calls_over_three_processes_are_each_served_once_though_the_leader_dies_twice():
    async with running({"a": sdnext(), "b": sdnext()}) as world:
        second, third = world.add_process("two"), world.add_process("three")
        await until(lambda: all(process.current.catalogue.backends for process in world.processes))
        calls = [world.asking(process, steps=1) for process in (second, third) for _ in range(20)]
        await asyncio.sleep(3)
        await world.kill(world.process)
        await asyncio.sleep(8)
        killed = second if second.dispatcher.is_leading else third
        killed.dispatcher._stand_by()  # it lost the lease, as after a pause
        world.store.lease = None
        served = await asyncio.gather(*calls)
        assert len({one.job_id for one in served}) == 40
        assert await world.settle() == NOTHING_HELD
        sent = sum(len(server.received("txt2img")) for server in world.backends.servers.values())
        assert sent == 40


async def test_a_job_that_waits_is_started_within_a_moment_of_the_end_of_the_one_before():
    async with running() as world:
        first = world.asking(steps=10)
        await until(lambda: world.store.slots)
        second = world.asking(steps=1)
        await first
        ended = now()
        await second
        assert now() - ended == pytest.approx(1.0, abs=0.2)


async def test_a_job_that_came_and_ended_between_two_looks_is_charged_to_its_tenant():
    store, (jobs,) = await stores("a", "b")
    dispatcher = Dispatcher(jobs)
    store.loaded |= {"a": "red", "b": "red"}
    await jobs.enter(entry("other", store=store, backends=("b",), tenant="t2"))
    await dispatcher.step()
    await jobs.enter(entry("j1", store=store, backends=("a",)))
    await asyncio.sleep(2.0)
    await jobs.leave(leaving("j1"))
    await dispatcher.step()
    # Both were active, so each had a right to one of the two seconds.
    assert dispatcher._scheduler.account_s("t1") == pytest.approx(1.0, rel=0.05)
    assert dispatcher._scheduler.account_s("t2") == pytest.approx(-1.0, rel=0.05)


async def test_of_a_job_that_began_at_once_the_scheduler_knows_how_long_it_should_take():
    store, (jobs,) = await stores("a")
    dispatcher = Dispatcher(jobs)
    store.loaded["a"] = "red"
    await dispatcher.step()
    await jobs.enter(entry("j1", store=store, backends=("a",)))
    await dispatcher.step()
    running = dispatcher._scheduler.backends["a"].running
    assert (running.job_id, running.work, running.checkpoint) == ("j1", 1.0, "red")
    assert dispatcher._scheduler.state.asked_for.rate("red", now()) > 0


async def test_the_lease_is_told_once_when_it_is_taken_and_once_when_another_has_it():
    _, (first, second) = await stores("a", processes=2)
    told = []
    ours = Dispatcher(first, on_lease=lambda has_it: told.append(("ours", has_it)))
    others = Dispatcher(second, on_lease=lambda has_it: told.append(("others", has_it)))
    for _ in range(3):
        await ours.step()
        await others.step()
    await asyncio.sleep(10)
    for _ in range(3):
        await others.step()
        await ours.step()
    assert told == [("ours", True), ("others", True), ("ours", False)]
