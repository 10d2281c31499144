"""Records go from the outbox into the ledger, and none on the way is lost."""

from __future__ import annotations

import asyncio

import pytest

from gateway.domain.errors import StoreUnavailable
from gateway.flow.keep_books import BATCH, Bookkeeper
from tests.flow.test_dispatch import entry, leaving, stores
from tests.flow.world import MemoryLedger, now

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
    assert await Bookkeeper(jobs, ledger, lambda: True).write_batch() == 3
    assert (sorted(ledger.records), store.outbox) == (["j0", "j1", "j2"], {})


async def test_nothing_is_forgotten_that_the_ledger_did_not_keep():
    store, jobs, ledger = await closed(3)
    ledger.is_away = True
    with pytest.raises(StoreUnavailable):
        await Bookkeeper(jobs, ledger, lambda: True).write_batch()
    assert (len(store.outbox), ledger.records, jobs.named("drop")) == (3, {}, [])


async def test_what_was_kept_but_not_forgotten_is_kept_once():
    store, jobs, ledger = await closed(2)
    jobs.lost_answers.append("read")
    books = Bookkeeper(jobs, ledger, lambda: True)
    with pytest.raises(StoreUnavailable):
        await books.write_batch()
    await books.write_batch()
    assert (len(ledger.records), store.outbox) == (2, {})


async def test_an_empty_outbox_troubles_no_ledger():
    _, jobs, ledger = await closed(0)
    ledger.is_away = True
    assert await Bookkeeper(jobs, ledger, lambda: True).write_batch() == 0


async def run_for(books, seconds):
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(seconds):
            await books.run()


async def test_full_batches_are_written_without_a_pause_and_the_rest_follows():
    store, jobs, ledger = await closed(BATCH + 1)
    began = now()
    await run_for(Bookkeeper(jobs, ledger, lambda: True), 0.1)
    assert (len(ledger.records), now() - began < 0.2, store.outbox) == (BATCH + 1, True, {})


async def test_a_process_that_does_not_lead_writes_nothing_until_it_does():
    store, jobs, ledger = await closed(1)
    leads = []
    books = Bookkeeper(jobs, ledger, lambda: bool(leads))
    await run_for(books, 10)
    assert (len(store.outbox), jobs.named("read")) == (1, [])
    leads.append(True)
    await run_for(books, 2)
    assert store.outbox == {}
