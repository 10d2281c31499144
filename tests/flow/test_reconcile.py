"""Admitted against recorded, at any moment of a job's life and after the store lost its data."""

from __future__ import annotations

import asyncio

import pytest

from gateway.domain.reconciliation import Reconciliation
from gateway.flow.reconcile import Reconciler
from tests.flow.world import NOTHING_HELD, running, until

pytestmark = pytest.mark.virtual_time


def reconciler(world):
    return Reconciler(world.process.jobs, world.ledger)


async def test_jobs_that_run_wait_and_are_being_written_are_no_difference():
    async with running() as world:
        world.ledger.is_away = True
        await world.ask(steps=1)
        world.asking(steps=50)
        await until(lambda: world.store.slots)
        world.asking(steps=50)
        await until(lambda: world.store.waiting)
        found = await reconciler(world).reconcile()
        assert (found.admitted, found.recorded, found.unwritten, found.open, found.difference) == (3, 0, 1, 2, 0)
        world.ledger.is_away = False
        await until(lambda: world.ledger.records)
        found = await reconciler(world).reconcile()
        assert (found.admitted, found.recorded, found.unwritten, found.open, found.difference) == (3, 1, 0, 2, 0)


async def test_a_record_that_has_come_to_the_ledger_and_still_stands_in_the_outbox_counts_once():
    async with running() as world:
        await world.ask(steps=1)
        (token, kept) = next(iter(world.store.outbox.items()))
        await world.records()
        world.store.outbox[token] = kept  # not forgotten yet
        found = await reconciler(world).reconcile()
        assert (found.recorded, found.unwritten, found.difference) == (0, 1, 0)


async def test_a_record_that_was_lost_is_a_difference():
    async with running() as world:
        await world.ask(steps=1)
        await world.records()
        world.ledger.records.clear()
        found = await reconciler(world).reconcile()
        assert (found.admitted, found.difference) == (1, 1)


async def test_jobs_of_a_process_that_died_together_with_the_data_are_unaccounted_and_no_difference():
    async with running() as world:
        second = world.add_process("two")
        await until(lambda: second.current.catalogue.backends)
        await world.ask(steps=1)
        doomed = world.asking(second, steps=200)
        await until(lambda: world.store.slots)
        await until(lambda: [count.admitted for count in world.ledger.noted.values()] == [2])
        await world.kill(second)
        second.jobs.is_away = True
        doomed.cancel()
        await asyncio.wait([doomed])
        world.store.lose_everything()
        await until(lambda: world.store.generation)
        found = await reconciler(world).reconcile()
        since = world.store.counting_since_us / 1e6
        assert found == Reconciliation(since, admitted=0, recorded=0, unwritten=0, open=0, unaccounted=1)


async def test_jobs_that_were_put_back_are_accounted_for_while_they_run_and_afterwards():
    async with running() as world:
        call = world.asking(steps=8)
        await until(lambda: world.store.slots)
        await until(lambda: [count.admitted for count in world.ledger.noted.values()] == [1])
        world.store.lose_everything()
        await until(lambda: world.store.slots)
        found = await reconciler(world).reconcile()
        assert (found.difference, found.unaccounted) == (0, 0)
        await call
        assert await world.settle() == NOTHING_HELD
        await world.records()
        found = await reconciler(world).reconcile()
        assert (found.difference, found.unaccounted) == (0, 0)
