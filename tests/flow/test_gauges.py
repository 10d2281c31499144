"""What one process says of itself, in virtual time."""

from __future__ import annotations

import asyncio

import pytest

from gateway.flow.byte_budget import ByteBudget
from gateway.flow.gauges import Gauges
from gateway.flow.readiness import Readiness
from gateway.ports.metrics import Sample
from tests.flow.world import running, until

MB = 1_000_000
pytestmark = pytest.mark.virtual_time


class Samples(list):
    """A meter that keeps samples."""

    def sampled(self, sample):
        self.append(sample)


def gauges_of(process, meter, byte_budget=None):
    readiness = Readiness(process.pulse, process.current)
    return Gauges(
        meter,
        readiness,
        process.dispatcher,
        process.held,
        process.way_out,
        process.pulse,
        process.supervisor,
        process.current,
        byte_budget or ByteBudget(),
        process.bookkeeper,
    )


async def test_a_sample_tells_of_leading_jobs_backends_and_loops():
    async with running() as world:
        world.backends["a"].engine.hold("inference")
        first = world.asking()
        await until(lambda: world.store.slots)
        second = world.asking()
        await until(world.process.held.waiting)
        budget = ByteBudget(1000 * MB)
        held = budget.call()
        await held.add(400 * MB, is_last=True)
        beyond = asyncio.get_running_loop().create_task(budget.call().add(200 * MB, is_last=True))
        await until(lambda: budget.waiting)
        sample = gauges_of(world.process, Samples(), budget).sample(late_s=0.25)
        held.give_back()
        await beyond
        world.backends["a"].engine.release("inference")
        await asyncio.gather(first, second)
    names = ("heartbeat", "listener", "dispatcher", "watcher", "rescans", "reloads", "foresight", "ledger")
    loops = dict.fromkeys(names, (True, 0))
    assert sample == Sample(
        is_ready=False,  # nobody said that the start is over
        is_leading=True,
        waiting=1,
        running=1,
        unheard=0,
        store_silent_s=sample.store_silent_s,
        late_s=0.25,
        backends={"a": "up"},
        recovering=frozenset(),
        loops=loops,
        models=len(world.process.current.catalogue.models),
        set_aside=0,
        budget_bytes=1000 * MB,
        budget_used_bytes=400 * MB,
        budget_waiting=1,
    )
    assert 0 <= sample.store_silent_s <= 1.1


async def test_who_does_not_lead_shows_no_backends():
    async with running() as world:
        other = world.add_process("two")
        await until(lambda: other.pulse.last_beat)
        sample = gauges_of(other, Samples()).sample(0.0)
        assert (sample.is_leading, sample.backends, sample.recovering) == (False, {}, frozenset())


async def test_a_process_is_sampled_once_a_second():
    async with running() as world:
        samples = Samples()
        task = asyncio.get_running_loop().create_task(gauges_of(world.process, samples).run())
        await asyncio.sleep(5.5)
        task.cancel()
        await asyncio.wait([task])
    assert len(samples) == 6
    assert max(sample.late_s for sample in samples) < 0.001
