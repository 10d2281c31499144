import hashlib
from dataclasses import replace

import pytest

from gateway.simulator.pool.generate import Recipe, make, pool_text, trace_text
from tests.simulator.pool.traces import PUBLIC

# SHA-256 of the two files one after the other, as the first tool with this algorithm wrote them.
DIGESTS = {
    "steady": "ce3a55194216cd87c71702abf168719882e2b5a8d235bcda5ec24dc69e9feb72",
    "small": "f8215fec5aaf3886065ea4c927cff265bc4f071602f4fa9acf5f669f449e43c8",
    "large": "c4064fedd5b2c66ad6a0ea7c1b9019e5fe5263a32cedbbf7e236bc247ea62e12",
    "bursty": "37c04352740b18c11c8713729a40746c956588251afab0ff858f09af57d561cb",
    "flooded": "dcb9333045e4fe446dff5b22a92f428d25d54f5f24a9934e17ddcc49c998132b",
    "mixed": "f79bc6904a8d94e9d32d6c1a48c4dd6731de6134bbaf82b16077a6bf985d177c",
    "overload": "55391e9bfac360afdbb711da787f8f2c8c1b663fe91ea8a2e1650c096865dad7",
}


@pytest.mark.parametrize("name", PUBLIC)
def test_the_same_arguments_give_the_same_files_as_every_other_tool_of_this_kind(name):
    pool, lines = make(PUBLIC[name])
    text = pool_text(pool) + trace_text(lines)
    assert hashlib.sha256(text.encode()).hexdigest() == DIGESTS[name]


def test_every_model_stands_somewhere_even_if_each_gpu_has_few():
    pool, _ = make(Recipe(backends=2, models=50, jobs=1, partial=0.1))
    assert len({model for gpu in pool["backends"] for model in gpu["models"]}) == 50


def test_a_flood_is_blocks_of_fifty_jobs_at_one_instant_from_one_tenant():
    _, lines = make(replace(PUBLIC["flooded"], jobs=2000))
    by_moment: dict[float, int] = {}
    for line in lines:
        if line["tenant"] == "t0":
            by_moment[line["t"]] = by_moment.get(line["t"], 0) + 1
    assert max(by_moment.values()) in (50, 51)


def test_load_is_the_share_of_the_pool_that_the_jobs_alone_take():
    pool, lines = make(Recipe(backends=4, jobs=8000, load=0.5, seed=3))
    work = sum(line["steps"] * line["width"] * line["height"] / 1e6 * line["images"] for line in lines)
    share = work * 0.25 / (lines[-1]["t"] * len(pool["backends"]))
    assert share == pytest.approx(0.5, rel=0.1)
