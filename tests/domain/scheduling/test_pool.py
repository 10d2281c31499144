import math
from dataclasses import replace

import pytest

from gateway.domain.scheduling import BackendView, Running
from gateway.domain.scheduling.pool import Pool
from gateway.domain.speeds import Speeds
from tests.domain.scheduling.builders import a_backend


def a_run(job_id: str = "1", **more: object) -> Running:
    return replace(Running(job_id, "t", "A", started_at=0.0, work=20.0), **more)


def a_pool(*views: BackendView, speeds: Speeds | None = None) -> Pool:
    pool = Pool(speeds or Speeds())
    for view in views:
        pool.put(view, 0.0)
    return pool


def test_only_usable_backends_without_a_job_are_free_and_faster_ones_come_first():
    speeds = Speeds()
    speeds.finished_generation("slow", "A", 10.0, 9.0)
    speeds.finished_generation("fast", "A", 10.0, 2.0)
    busy = a_backend("busy", "A", running=a_run())
    pool = a_pool(a_backend("slow"), a_backend("fast"), busy, a_backend("down", usable=False), speeds=speeds)
    assert pool.free() == ["fast", "slow"]
    assert (pool.usable, pool.has_free) == (3, True)


def test_copies_are_the_usable_backends_with_the_checkpoint_busy_or_free():
    pool = a_pool(
        a_backend("b1", "A"), a_backend("b2", "A", running=a_run()), a_backend("b3", "A", usable=False), a_backend("b4")
    )
    assert set(pool.copies("A")) == {"b1", "b2"}
    pool.put(a_backend("b1", "B"), 1.0)
    assert (set(pool.copies("A")), set(pool.copies("B")), set(pool.copies("C"))) == ({"b2"}, {"b1"}, set())


def test_running_jobs_are_counted_by_tenant_and_upkeep_is_nobodys():
    pool = a_pool(a_backend("b1", "A", running=a_run()), a_backend("b2", "A", running=a_run("")))
    assert (pool.running_of("t"), pool.where("1"), pool.where("")) == (1, "b1", None)
    pool.put(a_backend("b1", "A"), 5.0)
    assert (pool.running_of("t"), pool.where("1")) == (0, None)


def test_a_view_that_knows_less_of_the_running_job_does_not_erase_what_was_charged():
    pool = a_pool(a_backend("b1", "A", running=a_run(charged_s=5.0)))
    pool.put(a_backend("b1", "A", running=Running("1", "t", "A", 0.0)), 1.0)
    assert pool.views["b1"].running == a_run(charged_s=5.0)


def test_a_backend_that_is_removed_leaves_nothing_behind():
    pool = a_pool(a_backend("b1", "A", running=a_run()))
    assert pool.remove("b1") is not None
    assert pool.remove("b1") is None
    assert (list(pool.copies("A")), pool.running_of("t"), pool.has_free) == ([], 0, False)


def test_what_remains_is_the_swap_and_the_generation_less_the_time_gone():
    pool = a_pool(a_backend("b1", "A", running=a_run(swaps=True)), a_backend("b2"))
    assert pool.remaining_s("b1", 3.0) == pytest.approx(12.0 + 5.0 - 3.0)
    assert (pool.remaining_s("b1", 100.0), pool.remaining_s("b2", 0.0)) == (0.0, 0.0)
    assert (pool.is_loading("b1", 11.0), pool.is_loading("b1", 13.0)) == (True, False)
    assert not a_pool(a_backend("b1", "A", running=a_run())).is_loading("b1", 1.0)


def test_an_upscale_is_expected_to_take_its_own_time():
    pool = a_pool(a_backend("b1"))
    assert pool.expected_s("b1", a_run(upscaler="Lanczos", output_megapixels=4.0)) == pytest.approx(0.2)


def test_residence_counts_from_the_load_and_is_endless_for_what_was_there_before_us():
    pool = a_pool(a_backend("b1", "A"))
    assert pool.swap_times_stayed("b1", 50.0) == math.inf
    pool.put(a_backend("b1", "B"), 60.0)
    assert pool.swap_times_stayed("b1", 120.0) == pytest.approx(5.0)


def test_a_copy_of_the_pool_changes_on_its_own():
    pool = a_pool(a_backend("b1", "A", running=a_run()))
    copy = pool.copy()
    copy.put(a_backend("b1", "B"), 1.0)
    assert (set(pool.copies("A")), pool.running_of("t"), pool.has_free) == ({"b1"}, 1, False)
    assert (set(copy.copies("B")), copy.running_of("t"), copy.has_free) == ({"b1"}, 0, True)
