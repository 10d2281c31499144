"""Jobs this process answers for, and how word of a backend reaches the waiting call."""

from __future__ import annotations

import asyncio

import pytest

from gateway.domain.errors import StoreUnavailable
from gateway.flow.held import HeldJobs
from gateway.ports import Granted, Woken

pytestmark = pytest.mark.virtual_time

ON_A = Granted("a", "", 1.0)
ON_B = Granted("b", "", 2.0)


async def test_word_of_a_backend_reaches_the_call_that_waits():
    held = HeldJobs()
    job = held.open("j1")
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(job.backend())
        await asyncio.sleep(1)
        held.deliver(Woken("j1", ON_A))
    assert waiting.result() == ON_A


async def test_word_for_a_job_that_left_is_ignored():
    held = HeldJobs()
    held.open("j1")
    held.close("j1")
    held.deliver(Woken("j1", ON_A))
    assert (len(held), "j1" in held) == (0, False)


async def test_the_first_word_counts_until_the_job_waits_again():
    job = HeldJobs().open("j1")
    job.take(ON_A)
    job.take(ON_B)
    assert await job.backend() == ON_A
    job.wait_again(("b",), b"{}")
    job.take(ON_B)
    assert await job.backend() == ON_B


async def test_a_late_word_of_the_backend_that_was_given_back_is_ignored():
    job = HeldJobs().open("j1")
    job.take(ON_A)
    job.wait_again(("b",), b"{}")
    job.take(Granted("a", "", 1.0))
    assert not job.granted.is_set()
    job.take(ON_B)
    assert await job.backend() == ON_B


async def test_a_waiting_job_that_the_store_forgot_is_told_so():
    held = HeldJobs()
    job = held.open("j1")
    job.admitted_at = 0.0
    assert held.reconcile([], beaten_at=5.0) == ()
    with pytest.raises(StoreUnavailable, match="lost the queue"):
        await job.backend()


async def test_a_job_that_is_being_entered_is_not_taken_for_forgotten():
    held = HeldJobs()
    job = held.open("j1")
    entered_later = held.open("j2")
    entered_later.admitted_at = 6.0
    held.reconcile([], beaten_at=5.0)
    assert not job.granted.is_set()
    assert not entered_later.granted.is_set()


async def test_jobs_that_only_the_store_knows_are_named():
    held = HeldJobs()
    held.open("mine")
    assert held.reconcile(["mine", "orphan-2", "orphan-1"], beaten_at=0.0) == ("orphan-1", "orphan-2")


async def test_waiting_lists_admitted_jobs_without_a_backend_oldest_first():
    held = HeldJobs()
    for name in ("first", "entering", "placed", "second"):
        held.open(name).admitted_at = 1.0
    held.open("entering").admitted_at = None
    held.open("placed").take(ON_A)
    assert held.waiting() == ("first", "second")
