"""Records go from the outbox into the ledger, and none on the way is lost."""

from __future__ import annotations

import asyncio

import pytest

from gateway.domain.errors import StoreUnavailable
from gateway.flow.keep_books import BATCH, Bookkeeper
from gateway.ports import Unreadable
from tests.flow.test_dispatch import entry, leaving, stores
from tests.flow.world import Lines, MemoryLedger, now

pytestmark = pytest.mark.virtual_time


async def closed(count):
    """That many closed records in the outbox."""
    store, (jobs,) = await stores()
    for number in range(count):
        store.jobs.clear()
        await jobs.enter(entry(f"j{number}", store=store))
        await jobs.leave(leaving(f"j{number}"))
    return store, jobs, MemoryLedger()


async def test_a_batch_is_kept_and_then_forgotten():
    store, jobs, ledger = await closed(3)
    assert await Bookkeeper(jobs, ledger, lambda: True, Lines()).write_batch() == 3
    assert (sorted(ledger.records), store.outbox) == (["j0", "j1", "j2"], {})


async def test_nothing_is_forgotten_that_the_ledger_did_not_keep():
    store, jobs, ledger = await closed(3)
    ledger.is_away = True
    with pytest.raises(StoreUnavailable):
        await Bookkeeper(jobs, ledger, lambda: True, Lines()).write_batch()
    assert (len(store.outbox), ledger.records, jobs.named("drop")) == (3, {}, [])


async def test_what_was_kept_but_not_forgotten_is_kept_once():
    store, jobs, ledger = await closed(2)
    jobs.lost_answers.append("read")
    books = Bookkeeper(jobs, ledger, lambda: True, Lines())
    with pytest.raises(StoreUnavailable):
        await books.write_batch()
    await books.write_batch()
    assert (len(ledger.records), store.outbox) == (2, {})


async def test_an_empty_outbox_troubles_no_ledger():
    _, jobs, ledger = await closed(0)
    ledger.is_away = True
    assert await Bookkeeper(jobs, ledger, lambda: True, Lines()).write_batch() == 0


async def run_for(books, seconds):
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(seconds):
            await books.run()


async def test_full_batches_are_written_without_a_pause_and_the_rest_follows():
    store, jobs, ledger = await closed(BATCH + 1)
    began = now()
    await run_for(Bookkeeper(jobs, ledger, lambda: True, Lines()), 0.1)
    assert (len(ledger.records), now() - began < 0.2, store.outbox) == (BATCH + 1, True, {})


async def test_a_process_that_does_not_lead_writes_nothing_until_it_does():
    store, jobs, ledger = await closed(1)
    leads = []
    books = Bookkeeper(jobs, ledger, lambda: bool(leads), Lines())
    await run_for(books, 10)
    assert (len(store.outbox), jobs.named("read")) == (1, [])
    leads.append(True)
    await run_for(books, 2)
    assert store.outbox == {}


async def test_a_record_the_ledger_refuses_is_set_aside_and_told_and_the_others_are_kept():
    store, jobs, ledger = await closed(5)
    ledger.refused, log = {"j1", "j3"}, Lines()
    books = Bookkeeper(jobs, ledger, lambda: True, log)
    await books.write_batch()
    assert (sorted(ledger.records), store.outbox, books.aside) == (["j0", "j2", "j4"], {}, 2)
    told = [(event, fields["job_id"], fields["reason"]) for event, fields in log.others]
    assert told == [("record_set_aside", "j1", "no"), ("record_set_aside", "j3", "no")]
    assert "gateway db aside" in log.others[0][1]["way_out"]


async def test_a_record_nobody_can_read_is_set_aside_with_the_reason():
    store, jobs, ledger = await closed(2)
    store.outbox = {token: (job, Unreadable("j0", "why") if job == "j0" else record)
                    for token, (job, record) in store.outbox.items()}  # fmt: skip
    await Bookkeeper(jobs, ledger, lambda: True, Lines()).write_batch()
    assert (sorted(ledger.records), list((await jobs.aside()).values())) == (["j1"], ["why"])


async def test_what_was_set_aside_is_tried_again_when_it_is_asked_for():
    store, jobs, ledger = await closed(2)
    ledger.refused, log = {"j0"}, Lines()
    books = Bookkeeper(jobs, ledger, lambda: True, log)
    await books.write_batch()
    ledger.refused = set()
    await jobs.ask_again(tuple(await jobs.aside()))
    await books.write_batch()
    assert (sorted(ledger.records), store.outbox, books.aside) == (["j0", "j1"], {}, 0)


async def test_who_does_not_lead_counts_nothing_as_set_aside():
    _, jobs, ledger = await closed(1)
    ledger.refused, leads = {"j0"}, [True]
    books = Bookkeeper(jobs, ledger, lambda: bool(leads), Lines())
    await books.write_batch()
    leads.clear()
    assert books.aside == 0
