"""What a backend says of itself."""

from __future__ import annotations

import json
from contextlib import suppress

import pytest

from gateway.domain.errors import AttemptFailed
from gateway.domain.progress import Follower
from gateway.flow.observe import identity_of, is_idle, loaded_title, progress_of, read_lists, titles_of, uptime_s
from gateway.flow.snapshot import LISTS, CurrentCatalogue, PublishedInventory
from gateway.flow.upkeep import defaults_in, read_options, wrong_in
from gateway.ports import RawReply
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


@pytest.mark.parametrize("fault", ["500", "html", "cut-json", "bad-utf8"])
async def test_a_server_that_does_not_tell_its_uptime_is_no_failure(fault):
    async with running() as world:
        world.backends["a"].arm_once(fault, path="/sdapi/v1/status")
        assert await uptime_s(world.backends, world.backends.declared["a"]) is None


@pytest.mark.parametrize("fault", ["500", "html", "cut-json", "bad-utf8"])
async def test_a_server_that_does_not_say_what_is_loaded_is_a_failed_attempt(fault):
    async with running() as world:
        world.backends["a"].arm_once(fault, path="/sdapi/v1/checkpoint")
        with pytest.raises(AttemptFailed):
            await loaded_title(world.backends, world.backends.declared["a"])


@pytest.mark.parametrize("progress", [None, [], "x", {"state": []}, {}])
async def test_what_is_no_progress_has_an_identity_all_the_same(progress):
    assert identity_of(progress) in ((), (None, None, None))


# What may stand at any place of an answer instead of what belongs there.
HOSTILE = (
    *(b"null", b"true", b"1.5", b"1" + b"0" * 400, b"-1" + b"0" * 400, b"1e308", b"1e999", b"NaN"),
    *(b'""', b'"x"', b'"\\ud800"', b'"\\u0000"', b'"\xff"', b"[]", b"[[]]", b"{}", b'{"": 1}'),
)
PLACE = "this place"


def with_places(value):
    """This answer once for each of its places, PLACE standing there."""
    yield PLACE
    if isinstance(value, dict):
        yield from (value | {key: put} for key in value for put in with_places(value[key]))
    elif isinstance(value, list) and value:  # its entries are alike
        yield from ([put, *value[1:]] for put in with_places(value[0]))


class Answering:
    """A client whose backend gives these bodies, by the last part of the path."""

    def __init__(self, bodies):
        self.bodies = bodies

    async def get(self, _backend, path, _timeout_s):
        return RawReply(200, self.bodies[path.partition("?")[0].rpartition("/")[2]], "application/json", "")


async def everything_said(client, backend):
    """All that is ever asked of a backend beside work, and what the gateway makes of it."""
    for ask in (loaded_title, uptime_s, titles_of):
        with suppress(AttemptFailed):
            await ask(client, backend)
    progress = await progress_of(client, backend)
    is_idle(progress)
    identity_of(progress)
    Follower().saw(progress)[0].to_bytes()
    with suppress(AttemptFailed):
        wrong_in(await read_options(client, backend))
        defaults_in(await read_options(client, backend, "options-info"))
    with suppress(AttemptFailed):
        read = await read_lists(client, backend, None, lambda: 1.0)
        stored = PublishedInventory.from_bytes(read.to_bytes())
        CurrentCatalogue().replace({backend.name: stored.after(read, backend.name)}, 1.0)


async def test_nothing_that_a_backend_says_of_itself_ends_those_who_ask():
    routes = {"checkpoint", "status", "progress", "options", "options-info", *LISTS}
    async with running() as world:
        backend = world.backends.declared["a"]
        said = {r: (await world.backends.get(backend, f"/sdapi/v1/{r}", 5.0)).body for r in routes}
    for route in sorted(routes):
        one = json.loads(said[route])
        few = one[:1] if isinstance(one, list) else one
        for changed in with_places(few) if route != "options-info" else (PLACE, {"options": PLACE}):
            for hostile in HOSTILE:
                body = json.dumps(changed).encode().replace(json.dumps(PLACE).encode(), hostile)
                try:
                    await everything_said(Answering(said | {route: body}), backend)
                except Exception as error:
                    raise AssertionError(f"/{route} answering {body[:200]!r}") from error
