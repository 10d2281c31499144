"""What operators see of the queue and of a job, from entering to the ledger."""

from __future__ import annotations

import pytest

from gateway.flow.look import Onlooker
from tests.flow.world import running, until
from tests.support.fake_backends import RED, sdnext

pytestmark = pytest.mark.virtual_time


async def test_the_queue_shows_who_runs_who_waits_and_what_keeps_them():
    async with running({"a": sdnext(), "b": sdnext(RED)}) as world:
        onlooker = Onlooker(world.process.jobs, world.ledger)
        world.asking(steps=30)
        await until(lambda: "a" in world.store.slots)
        world.asking(steps=30)
        await until(lambda: len(world.store.slots) == 2)
        world.asking(sd_model_checkpoint="blue")
        await until(lambda: world.store.waiting)
        view = await onlooker.queue()
        (waiting,) = view.waiting
        assert (waiting.position, waiting.tenant_id, waiting.model, waiting.reasons) == (1, "t1", "blue", {"a": "busy"})
        assert waiting.waits_s == pytest.approx(view.at - waiting.entered_at)
        assert [(line.name, line.state, line.loaded, bool(line.job_id)) for line in view.backends] == [
            ("a", "up", "red", True),
            ("b", "up", "red", True),
        ]


async def test_a_job_and_its_record_and_its_line_in_the_log_tell_why_it_went_where_it_went():
    async with running() as world:
        onlooker = Onlooker(world.process.jobs, world.ledger)
        first = await world.ask(steps=1)
        busy = world.asking(steps=5)
        await until(lambda: world.store.slots)
        second = await world.ask(steps=1, sd_model_checkpoint="blue")
        await busy
        await world.records()
        line, record = await onlooker.job(second.job_id)
        assert (line.state, line.backend, line.tenant_id, line.process) == ("closed", "a", "t1", "one")
        assert line.why == record.why == world.process.log.calls[-1]["why"]
        assert line.why.endswith(" s, swap from red; no other can run it")
        _, record = await onlooker.job(first.job_id)
        assert record.why == "free with its checkpoint loaded while nobody waited"
        assert world.process.log.calls[0]["why"] == record.why


async def test_a_job_that_nobody_knows_is_nothing():
    async with running() as world:
        assert await Onlooker(world.process.jobs, world.ledger).job("nobody") == (None, None)
