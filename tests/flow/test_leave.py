"""Leaving is heard in the end, once."""

from __future__ import annotations

import pytest

from gateway.domain.errors import StoreUnavailable
from gateway.domain.jobs import Outcome
from gateway.flow.held import HeldJobs
from gateway.flow.leave import Exit
from gateway.ports import Leaving
from tests.flow.test_dispatch import entry, stores

pytestmark = pytest.mark.virtual_time

FINISHED = Leaving("op-1", "j1", Outcome.FINISHED)


async def entered(*job_ids):
    store, (jobs,) = await stores("a")
    held = HeldJobs()
    for job_id in job_ids:
        held.open(job_id)
        await jobs.enter(entry(job_id, store=store, checkpoint=""))
    return Exit(jobs, held), store, jobs, held


async def test_a_job_that_left_is_no_longer_held_anywhere():
    way_out, store, _, held = await entered("j1")
    await way_out.leave(FINISHED)
    assert (store.of(), store.slots, len(held), way_out.unheard) == ([], {}, 0, 0)


async def test_an_unheard_leaving_raises_nothing_and_stays_held_until_it_is_heard():
    way_out, store, jobs, held = await entered("j1")
    jobs.is_away = True
    await way_out.leave(FINISHED)
    assert (way_out.unheard, "j1" in held, store.of()) == (1, True, ["j1"])
    with pytest.raises(StoreUnavailable):
        await way_out.send_again()
    assert way_out.unheard == 1
    jobs.is_away = False
    await way_out.send_again()
    assert (way_out.unheard, len(held), jobs.named("leave")) == (0, 0, [FINISHED])
    await way_out.send_again()
    assert len(jobs.named("leave")) == 1


async def test_a_leaving_that_was_done_but_whose_answer_was_lost_closes_one_record():
    way_out, store, jobs, _ = await entered("j1")
    jobs.lost_answers.append("leave")
    await way_out.leave(FINISHED)
    await way_out.send_again()
    assert jobs.named("leave") == [FINISHED, FINISHED]
    assert len(store.outbox) == 1


async def test_what_was_heard_before_the_store_went_away_again_is_not_sent_a_third_time():
    way_out, _, jobs, _ = await entered("j1", "j2")
    jobs.is_away = True
    for job_id in ("j1", "j2"):
        await way_out.leave(Leaving(f"op {job_id}", job_id, Outcome.FINISHED))
    jobs.is_away = False
    jobs.lost_answers.append("leave")
    with pytest.raises(StoreUnavailable):
        await way_out.send_again()
    assert way_out.unheard == 2
    await way_out.send_again()
    assert way_out.unheard == 0


async def test_a_disowned_job_is_closed_and_its_backend_recovers():
    way_out, store, _, _ = await entered("j1")
    await way_out.disown("j1", Outcome.FAILED, "nobody waits for it")
    assert store.of() == []
    assert [slot.is_recovering for slot in store.slots.values()] == [True]
    ((_, record),) = store.outbox.values()
    assert (record.outcome, record.reason) == (Outcome.FAILED, "nobody waits for it")
