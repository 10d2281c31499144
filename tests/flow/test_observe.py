"""What a backend says of itself."""

from __future__ import annotations

import pytest

from gateway.domain.errors import AttemptFailed
from gateway.flow.observe import identity_of, is_idle, loaded_title, progress_of, titles_of, uptime_s
from tests.flow.world import running
from tests.support.fake_backends import BLUE, RED

pytestmark = pytest.mark.virtual_time


@pytest.mark.parametrize(
    ("progress", "idle"),
    [
        ({"state": {"job": "", "job_count": 0}}, True),
        ({"state": {"job": "Inference", "job_count": 0}}, False),
        ({"state": {"job": "", "job_count": 1}}, False),
        ({"state": None}, False),
        ([], False),
        (None, False),
    ],
)
async def test_an_answer_is_idle_only_if_it_says_that_nothing_runs(progress, idle):
    assert is_idle(progress) is idle


async def test_a_server_says_what_it_has_loaded_lists_does_and_for_how_long_it_has_run():
    async with running() as world:
        backend = world.backends.declared["a"]
        assert await loaded_title(world.backends, backend) == RED
        assert await titles_of(world.backends, backend) == [BLUE, RED]
        assert is_idle(await progress_of(world.backends, backend))
        assert await uptime_s(world.backends, backend) >= 1


@pytest.mark.parametrize("fault", ["500", "html", "cut-json"])
async def test_a_server_that_does_not_tell_its_uptime_is_no_failure(fault):
    async with running() as world:
        world.backends["a"].arm_once(fault, path="/sdapi/v1/status")
        assert await uptime_s(world.backends, world.backends.declared["a"]) is None


@pytest.mark.parametrize("fault", ["500", "html", "cut-json"])
async def test_a_server_that_does_not_say_what_is_loaded_is_a_failed_attempt(fault):
    async with running() as world:
        world.backends["a"].arm_once(fault, path="/sdapi/v1/checkpoint")
        with pytest.raises(AttemptFailed):
            await loaded_title(world.backends, world.backends.declared["a"])


@pytest.mark.parametrize("progress", [None, [], "x", {"state": []}, {}])
async def test_what_is_no_progress_has_an_identity_all_the_same(progress):
    assert identity_of(progress) in ((), (None, None, None))
