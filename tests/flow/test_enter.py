"""Admission: what the store answers becomes facts."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from gateway.domain.errors import NoCapacity, QuotaExceeded, RateLimited, StoreUnavailable, TooManyOutstanding
from gateway.domain.plans import Plan
from gateway.domain.usage import Measure, Window
from gateway.flow.enter import ATTEMPTS, Entrance, KeysChanged, quotas_of, rates_of
from gateway.flow.held import HeldJobs
from gateway.ports import PoolNews, Quota, Rate
from tests.flow.test_dispatch import entry
from tests.flow.world import CALLER, DistantJobs, LoopStore, MemoryLedger

pytestmark = pytest.mark.virtual_time

IMAGES_A_DAY = Quota(Measure.IMAGES, Window.DAY, 10.0, 1.0)


async def entrance(*, backends=("a",)):
    store, ledger, held = LoopStore(), MemoryLedger(), HeldJobs()
    jobs = DistantJobs(store, "p")
    await jobs.beat(0)
    await jobs.poll(from_scratch=True)
    await jobs.publish("up", PoolNews(states=dict.fromkeys(backends, "up"), loaded=dict.fromkeys(backends, "red")))
    return Entrance(jobs, ledger, held), store, jobs, ledger, held


async def test_a_job_that_can_start_has_its_backend_at_once_and_one_that_cannot_waits():
    ours, store, _, _, held = await entrance()
    first, _ = await ours.enter(entry("j1", store=store))
    second, _ = await ours.enter(entry("j2", store=store))
    assert (first.place.backend, second.place, held.waiting()) == ("a", None, ("j2",))


async def test_quotas_are_seeded_from_the_ledger_once():
    ours, store, jobs, ledger, _ = await entrance()
    ledger.used_before = 7.0
    for number in range(3):
        await ours.enter(replace(entry(f"j{number}", store=store), quotas=(IMAGES_A_DAY,)))
    day = 1_800_000_000 // 86_400 * 86_400
    assert ledger.asked == [("t1", Measure.IMAGES, Window.DAY, day)]
    with pytest.raises(QuotaExceeded, match="images a day"):
        await ours.enter(replace(entry("j3", store=store), quotas=(IMAGES_A_DAY,)))
    first, second = jobs.named("enter")[:2]
    assert (first.job_id, first.operation_id != second.operation_id) == (second.job_id, True)


async def test_a_quota_that_cannot_be_seeded_admits_nothing():
    ours, store, _, ledger, held = await entrance()
    ledger.is_away = True
    with pytest.raises(StoreUnavailable):
        await ours.enter(replace(entry("j1", store=store), quotas=(IMAGES_A_DAY,)))
    assert (store.jobs, len(held)) == ({}, 0)


async def test_a_store_that_forgets_its_seeds_again_and_again_is_a_503():
    ours, store, jobs, ledger, held = await entrance()
    used = ledger.used

    async def used_and_forgotten(*question):
        store.asked.clear()
        return await used(*question)

    ledger.used = used_and_forgotten
    with pytest.raises(StoreUnavailable, match="keeps forgetting"):
        await ours.enter(replace(entry("j1", store=store), quotas=(IMAGES_A_DAY,)))
    assert (len(jobs.named("enter")), len(held)) == (ATTEMPTS, 0)


async def test_changed_keys_are_told_with_the_new_epoch_and_hold_nothing():
    ours, store, _, _, held = await entrance()
    with pytest.raises(KeysChanged) as changed:
        await ours.enter(replace(entry("j1", store=store), epoch="old"))
    assert (changed.value.epoch, len(held), store.jobs) == (store.epoch, 0, {})


async def test_the_rate_says_the_true_wait():
    ours, store, _, _, held = await entrance()
    slow = {"rates": (Rate("t:t1", 1.0, 1),)}
    await ours.enter(replace(entry("j1", store=store), **slow))
    with pytest.raises(RateLimited) as refused:
        await ours.enter(replace(entry("j2", store=store), **slow))
    assert refused.value.retry_after_s == pytest.approx(60, abs=0.1)
    await asyncio.sleep(refused.value.retry_after_s)
    await ours.enter(replace(entry("j3", store=store), **slow))
    assert "j2" not in held


async def test_too_many_jobs_are_told_with_how_many_there_may_be():
    ours, store, _, _, _ = await entrance()
    await ours.enter(entry("j0", store=store))
    with pytest.raises(TooManyOutstanding, match="1 jobs of yours wait or run; 1 may"):
        await ours.enter(replace(entry("j1", store=store), max_concurrency=1, max_queued=0))


async def test_a_plan_that_does_not_wait_is_refused_while_every_backend_is_busy():
    ours, store, _, _, _ = await entrance()
    await ours.enter(replace(entry("j0", store=store), tenant_id="t2"))
    with pytest.raises(NoCapacity, match="busy"):
        await ours.enter(replace(entry("j1", store=store), max_queued=0))


@pytest.mark.parametrize("fails", ["lost answer", "away", "cancelled"])
async def test_however_entering_fails_this_process_holds_nothing(fails):
    ours, store, jobs, _, held = await entrance()
    jobs.is_away = fails == "away"
    if fails == "lost answer":
        jobs.lost_answers.append("enter")
    entering = asyncio.get_running_loop().create_task(ours.enter(entry("j1", store=store)))
    if fails == "cancelled":
        await asyncio.sleep(0.0015)  # admitted, the answer is on its way
        entering.cancel()
    (error,) = await asyncio.gather(entering, return_exceptions=True)
    assert isinstance(error, StoreUnavailable | asyncio.CancelledError)
    assert len(held) == 0


def test_the_rate_is_the_tenants_and_quotas_are_only_those_the_plan_sets():
    caller = replace(CALLER, plan=Plan(requests_per_minute=30.0, burst=3, images_per_day=5, gpu_seconds_per_month=9.5))
    assert rates_of(caller) == (Rate("t:t1", 30.0, 3),)
    assert quotas_of(caller, 2, 1.5) == (
        Quota(Measure.IMAGES, Window.DAY, 5, 2.0),
        Quota(Measure.GPU_SECONDS, Window.MONTH, 9.5, 1.5),
    )
    assert quotas_of(CALLER, 2, 1.5) == ()
