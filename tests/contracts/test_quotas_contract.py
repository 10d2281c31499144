"""What every job store promises for quotas by day and month: seeds, reservations, corrections, and the calendar."""

from __future__ import annotations

import calendar
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from gateway.domain.jobs import Outcome
from gateway.domain.limits import MICROSECONDS
from gateway.domain.usage import Measure, Window
from gateway.ports import Admitted, Quota, Refused, SeedsNeeded
from tests.contracts.job_worlds import World, entry, leaving, new_id, queued

IMAGES = Quota(Measure.IMAGES, Window.DAY, 10, 4)
SEEDED = {(Measure.IMAGES, Window.DAY): 0.0}


async def travel(world: World, moment: datetime) -> None:
    """Let the world's clock be at `moment`."""
    world.fast_forward(moment.timestamp() - await world.now_us() / MICROSECONDS)


async def seeded(process, asked):
    """Enter as the flow does: with the seeds that the store asks for, all `used` so far being 0."""
    answer = await process.jobs.enter(asked)
    while isinstance(answer, SeedsNeeded):
        seeds = {(measure, window): 0.0 for measure, window, _ in answer.windows}
        answer = await process.jobs.enter(replace(asked, operation_id=new_id(), seeds=seeds))
    return answer


async def test_windows_that_are_not_counted_yet_are_asked_for_with_their_start_and_nothing_is_taken(world: World):
    await travel(world, datetime(2028, 2, 29, 12, tzinfo=UTC))
    p = world.process("p")
    month = Quota(Measure.GPU_SECONDS, Window.MONTH, 10, 1)
    answer = await p.jobs.enter(entry(await p.jobs.epoch(), quotas=(IMAGES, month)))
    assert answer == SeedsNeeded(
        (
            (Measure.IMAGES, Window.DAY, datetime(2028, 2, 29, tzinfo=UTC).timestamp()),
            (Measure.GPU_SECONDS, Window.MONTH, datetime(2028, 2, 1, tzinfo=UTC).timestamp()),
        )
    )
    assert (await p.jobs.beat(0)).held is None


async def test_what_the_ledger_knows_counts(world: World):
    p = world.process("p")
    asked = entry(await p.jobs.epoch(), quotas=(IMAGES,))
    await p.jobs.enter(asked)
    full = replace(asked, operation_id=new_id(), seeds={(Measure.IMAGES, Window.DAY): 6.5})
    refused = await p.jobs.enter(full)
    assert isinstance(refused, Refused)
    assert (refused.limit, refused.which) == ("quota", "images a day")


async def test_of_two_that_seed_the_same_window_the_first_counts(world: World):
    p, q = world.process("p"), world.process("q")
    epoch = await p.jobs.epoch()
    first, second = entry(epoch, quotas=(IMAGES,)), entry(epoch, quotas=(IMAGES,))
    assert isinstance(await p.jobs.enter(first), SeedsNeeded)
    assert isinstance(await q.jobs.enter(second), SeedsNeeded)
    assert isinstance(await p.jobs.enter(replace(first, operation_id=new_id(), seeds=SEEDED)), Admitted)
    late = replace(second, operation_id=new_id(), seeds={(Measure.IMAGES, Window.DAY): 10.0})
    assert isinstance(await q.jobs.enter(late), Admitted)


async def test_a_seed_of_yesterday_is_not_taken_for_today(world: World):
    await travel(world, datetime(2027, 1, 31, 23, 59, 50, tzinfo=UTC))
    p = world.process("p")
    asked = entry(await p.jobs.epoch(), quotas=(replace(IMAGES, window=Window.MONTH),))
    assert isinstance(await p.jobs.enter(asked), SeedsNeeded)
    world.fast_forward(20)
    other = entry(await p.jobs.epoch(), quotas=asked.quotas)
    await p.jobs.enter(other)
    stale = replace(asked, operation_id=new_id(), seeds={(Measure.IMAGES, Window.MONTH): 9.0})
    first_of_february = datetime(2027, 2, 1, tzinfo=UTC).timestamp()
    assert await p.jobs.enter(stale) == SeedsNeeded(((Measure.IMAGES, Window.MONTH, first_of_february),))


async def test_a_quota_admits_up_to_its_limit_and_tells_when_it_begins_anew(world: World):
    await travel(world, datetime(2027, 3, 5, 18, tzinfo=UTC))
    p = world.process("p")
    epoch = await p.jobs.epoch()
    for amount in (4, 4, 2):
        assert isinstance(await seeded(p, entry(epoch, quotas=(replace(IMAGES, amount=amount),))), Admitted)
    refused = await seeded(p, entry(epoch, quotas=(replace(IMAGES, amount=1),)))
    assert refused.at + refused.retry_after_s == pytest.approx(datetime(2027, 3, 6, tzinfo=UTC).timestamp(), abs=2e-6)
    world.fast_forward(6 * 3600)
    assert isinstance(await seeded(p, entry(epoch, quotas=(IMAGES,))), Admitted)


async def test_a_month_outlives_its_days(world: World):
    await travel(world, datetime(2027, 4, 1, 1, tzinfo=UTC))
    p = world.process("p")
    quotas = (replace(IMAGES, limit=4), replace(IMAGES, window=Window.MONTH))
    epoch = await p.jobs.epoch()
    for _ in range(2):
        assert isinstance(await seeded(p, entry(epoch, quotas=quotas)), Admitted)
        assert (await seeded(p, entry(epoch, quotas=quotas))).which == "images a day"
        world.fast_forward(86_400)
    assert (await seeded(p, entry(epoch, quotas=quotas))).which == "images a month"
    await travel(world, datetime(2027, 5, 1, tzinfo=UTC) + timedelta(seconds=1))
    assert isinstance(await seeded(p, entry(epoch, quotas=quotas)), Admitted)


async def test_what_a_job_used_replaces_what_it_reserved(world: World):
    p = world.process("p")
    epoch = await p.jobs.epoch()
    asked = entry(epoch, quotas=(replace(IMAGES, amount=10),))
    await seeded(p, asked)
    assert isinstance(await seeded(p, entry(epoch, quotas=(IMAGES,))), Refused)
    await p.jobs.leave(leaving(asked.job_id, images=3))
    assert isinstance(await seeded(p, entry(epoch, quotas=(replace(IMAGES, amount=7),))), Admitted)
    assert isinstance(await seeded(p, entry(epoch, quotas=(replace(IMAGES, amount=1),))), Refused)


async def test_gpu_seconds_count_in_fractions_without_rounding_errors(world: World):
    p = world.process("p")
    epoch = await p.jobs.epoch()
    tenth = Quota(Measure.GPU_SECONDS, Window.MONTH, 1.0, 0.1)
    for _ in range(10):
        asked = entry(epoch, quotas=(tenth,))
        assert isinstance(await seeded(p, asked), Admitted)
        await p.jobs.leave(leaving(asked.job_id, gpu_seconds=0.1, images=7))
    assert isinstance(await seeded(p, entry(epoch, quotas=(replace(tenth, amount=0.000001),))), Refused)


async def test_a_lost_job_costs_nothing_until_its_late_holder_tells_what_it_used(world: World):
    dead, alive = world.process("dead"), world.process("alive")
    epoch = await alive.jobs.epoch()
    asked = entry(epoch, quotas=(IMAGES,))
    await seeded(dead, asked)
    world.fast_forward(11)
    await alive.jobs.beat(0)
    full = entry(epoch, quotas=(replace(IMAGES, amount=10),))
    await seeded(alive, full)
    await alive.jobs.leave(leaving(full.job_id, outcome=Outcome.FAILED))
    await dead.jobs.leave(leaving(asked.job_id, images=4))
    assert isinstance(await seeded(alive, entry(epoch, quotas=(replace(IMAGES, amount=7),))), Refused)
    assert isinstance(await seeded(alive, entry(epoch, quotas=(replace(IMAGES, amount=6),))), Admitted)


async def test_a_job_that_ends_after_midnight_counts_on_the_day_it_entered(world: World):
    await travel(world, datetime(2027, 12, 31, 23, 59, tzinfo=UTC))
    p = world.process("p")
    epoch = await p.jobs.epoch()
    asked = entry(epoch, quotas=(IMAGES,))
    await seeded(p, asked)
    world.fast_forward(120)
    await queued(p.jobs, entry(epoch))
    today = entry(epoch, quotas=(replace(IMAGES, amount=10),))
    assert isinstance(await seeded(p, today), Admitted)
    await p.jobs.leave(leaving(asked.job_id, images=4))
    await p.jobs.leave(leaving(today.job_id, images=6))
    assert isinstance(await seeded(p, entry(epoch, quotas=(IMAGES,))), Admitted)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.datetimes(datetime(2026, 1, 1), datetime(2199, 12, 31), timezones=st.just(UTC)),  # noqa: DTZ001 - hypothesis adds it
    st.sampled_from(["as drawn", "first", "last", "leap"]),
)
@example(datetime(2028, 2, 29, tzinfo=UTC), "as drawn")
@example(datetime(2028, 3, 1, tzinfo=UTC), "as drawn")
@example(datetime(2100, 2, 28, tzinfo=UTC), "as drawn")  # not a leap year
@example(datetime(2100, 3, 1, tzinfo=UTC), "as drawn")  # the only day on which a wrong century shows
async def test_windows_begin_and_end_as_in_pythons_calendar(world: World, moment, where):
    day = {"as drawn": moment.day, "first": 1, "last": calendar.monthrange(moment.year, moment.month)[1], "leap": 28}[
        where
    ]
    moment = moment.replace(day=day, hour=12, month=2 if where == "leap" else moment.month)
    moment += timedelta(days=1) if where == "leap" else timedelta(0)
    await travel(world, moment)
    midnight = moment.replace(hour=0, minute=0, second=0, microsecond=0)
    first = midnight.replace(day=1)
    following = first.replace(year=first.year + first.month // 12, month=first.month % 12 + 1)
    p = world.process("p")
    epoch = await p.jobs.epoch()
    tenant = new_id("tenant")
    for window, start, end in ((Window.DAY, midnight, midnight + timedelta(days=1)), (Window.MONTH, first, following)):
        asked = entry(epoch, tenant_id=tenant, quotas=(Quota(Measure.IMAGES, window, 0, 1),))
        assert await p.jobs.enter(asked) == SeedsNeeded(((Measure.IMAGES, window, start.timestamp()),))
        refused = await p.jobs.enter(replace(asked, operation_id=new_id(), seeds={(Measure.IMAGES, window): 0.0}))
        assert refused.at + refused.retry_after_s == pytest.approx(end.timestamp(), abs=2e-6)
