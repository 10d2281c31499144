"""The same jobs through real processes and through `gateway simulate`: the small form of `make live-vs-simulated`."""

from __future__ import annotations

import pytest

from bench.live import RECIPE, Seen, live, scenario, simulated, verdicts
from gateway.simulator.pool.baselines import Fifo
from gateway.simulator.pool.engine import simulate
from gateway.simulator.pool.files import pool_of, trace_of
from gateway.simulator.pool.generate import Recipe

SMALL = Recipe(backends=4, models=6, tenants=3, jobs=60, load=0.7, seed=8)


def test_three_processes_place_jobs_as_the_simulated_pool_does(tmp_path):
    chosen = scenario(SMALL, scale=30.0)
    expected, seen = simulated(chosen), live(chosen, tmp_path)
    gpus, jobs = pool_of(chosen.pool), trace_of(chosen.lines).jobs
    in_order = simulate(gpus, jobs, Fifo(gpus)).swaps
    assert seen.statuses == {200: SMALL.jobs}
    # On a busy machine jobs come together that would not; a queue without affinity swaps about twice as often.
    assert abs(seen.swaps - expected.swaps) < (in_order - expected.swaps) / 2


def test_the_files_of_both_sides_are_equally_much_faster_than_the_recipe():
    slow, fast = scenario(RECIPE, scale=1.0), scenario(RECIPE, scale=8.0)
    assert [line["t"] for line in fast.lines] == pytest.approx([line["t"] / 8 for line in slow.lines])
    speeds = [backend["seconds_per_megapixel_step"] for backend in fast.pool["backends"]]
    assert speeds == pytest.approx([backend["seconds_per_megapixel_step"] / 8 for backend in slow.pool["backends"]])
    assert {backend["swap_s"] for backend in fast.pool["backends"]} == {RECIPE.swap_s / 8}


def test_what_is_out_of_bounds_is_named_run_by_run():
    expected, answered = Seen(2.0, 50, {200: 300}), {200: 300}
    assert verdicts(expected, [Seen(2.2, 54, answered), Seen(2.3, 46, answered)]) == []
    assert verdicts(expected, [Seen(2.2, 56, answered), Seen(2.5, 44, {200: 299, 503: 1})]) == [
        "answers {200: 299, 503: 1}",
        "mean latency 2.350 s, not within 15% of 2.000 s",
        "run 1: 56 swaps, not within 10% of 50",
        "run 2: 44 swaps, not within 10% of 50",
    ]
