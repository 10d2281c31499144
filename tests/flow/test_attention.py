"""What a caller sees and wishes of its running job, in the process that holds it."""

from __future__ import annotations

import asyncio
import itertools

import msgspec
import pytest

from gateway.domain.backends import Backend
from gateway.domain.errors import BackendAnswerTooLarge, BackendTimedOut
from gateway.domain.progress import Shown
from gateway.flow.attention import Attendant, Attention
from gateway.ports import RawReply
from tests.support.memory_own import MemoryOwn
from tests.support.memory_store import MemoryStore

pytestmark = pytest.mark.virtual_time
BACKEND = Backend("a", "http://a.test")


class Wire:
    """Keeps what it is asked; answers nonsense, or not at all."""

    def __init__(self):
        self.asked, self.is_silent, self.has_large_previews = [], False, False

    async def get(self, backend, path, timeout_s):
        return await self.post(backend, path, b"", timeout_s)

    async def post(self, _backend, path, _body, _timeout_s):
        self.asked.append((asyncio.get_running_loop().time(), path))
        if self.is_silent:
            raise BackendTimedOut("silent")
        if self.has_large_previews and path.endswith("=false"):
            raise BackendAnswerTooLarge("large")
        return RawReply(200, b"{nonsense")


@pytest.fixture
def wire():
    return Wire()


@pytest.fixture
def attendant(wire):
    return Attendant(wire, MemoryOwn(MemoryStore(), "one"))


async def attending(attendant, attention, seconds):
    """One attempt of that many seconds, as the forwarder makes it."""
    async with asyncio.TaskGroup() as group:
        post = group.create_task(asyncio.sleep(seconds))
        attendant.attend(group, BACKEND, attention, post)
        await asyncio.wait([post])
        attention.attempt_ended()


async def test_a_backend_is_asked_once_a_second_however_many_look(attendant, wire):
    attention = Attention("j1")

    async def look_on():
        for _ in range(300):
            attention.look(with_preview=True)
            await asyncio.sleep(0.01)

    async with asyncio.TaskGroup() as group:
        group.create_task(look_on())
        group.create_task(attending(attendant, attention, 10))
    times = [at for at, _ in wire.asked]
    assert 4 <= len(times) <= 8  # every two seconds once nobody looks
    assert all(later - earlier > 0.99 for earlier, later in itertools.pairwise(times))


class Backends:
    """Says how far a job of 90 steps is, one a second, beginning two seconds after its call."""

    def __init__(self):
        self.asked = []

    async def get(self, _backend, path, _timeout_s):
        now = asyncio.get_running_loop().time()
        self.asked.append(now)
        return RawReply(200, msgspec.json.encode(progress_at(now)))


def progress_at(now):
    step = max(0, int(now) - 2)
    job = "Inference" if step else ""
    state = {"job": job, "job_count": int(step > 0), "sampling_step": step, "sampling_steps": 90}
    return {"id": "1", "progress": step / 90, "eta_relative": 90.0 - step, "state": state, "current_image": None}


@pytest.mark.parametrize("every_s", [0.1, 1.0, 3.0, 8.0, 30.0])
async def test_progress_polled_at_any_interval_shows_the_truth_of_two_seconds_ago(every_s):
    """Seen: polled every 8 s, "starting, 0.01" while the backend was at step 84 of 90."""
    backends, attention, seen = Backends(), Attention("j1"), []
    attendant = Attendant(backends, MemoryOwn(MemoryStore(), "one"))

    async def poll():
        while True:
            attention.look()
            seen.append((asyncio.get_running_loop().time(), attention.shown.step))
            await asyncio.sleep(every_s)

    async with asyncio.TaskGroup() as group:
        polling = group.create_task(poll())
        await attending(attendant, attention, 90)
        polling.cancel()
    for at, step in seen[1:]:
        assert at - 2 - 2 <= step + 2 <= at or at < 6  # within the first seconds it is not proven ours
    assert len(backends.asked) <= 91
    assert all(later - earlier >= 0.99 for earlier, later in itertools.pairwise(backends.asked))


async def test_a_job_that_was_looked_at_while_it_waited_is_followed_from_its_beginning_and_on_its_second_backend(
    attendant, wire
):
    attention = Attention("j1")
    attention.look()
    await attending(attendant, attention, 2.5)
    await attending(attendant, attention, 2.5)
    assert [round(at, 1) for at, _ in wire.asked] == [0.0, 2.0, 2.5, 4.5]


async def test_while_nobody_looks_or_wishes_nothing_runs_beside_the_post(attendant, wire):
    attention = Attention("j1")
    async with asyncio.TaskGroup() as group:
        before = asyncio.all_tasks()
        post = group.create_task(asyncio.sleep(5))
        attendant.attend(group, BACKEND, attention, post)
        assert asyncio.all_tasks() - before == {post}
        await post
        attention.attempt_ended()
    assert wire.asked == []


async def test_the_preview_is_asked_for_only_where_somebody_wants_it(attendant, wire):
    attention = Attention("j1")
    attention.look()
    await attending(attendant, attention, 0.5)
    attention.look("two", with_preview=True)
    await attending(attendant, attention, 0.5)
    assert [path.partition("?")[2] for _, path in wire.asked] == [
        "skip_current_image=true", "skip_current_image=false",
    ]  # fmt: skip


async def test_a_preview_that_is_too_large_is_not_asked_for_again_and_the_progress_is(attendant, wire):
    attention, wire.has_large_previews = Attention("j1"), True
    for _ in range(2):
        attention.look(with_preview=True)
        await attending(attendant, attention, 0.5)
    assert [path.partition("?")[2] for _, path in wire.asked] == [
        "skip_current_image=false", "skip_current_image=true",
    ]  # fmt: skip


async def test_a_silent_backend_and_nonsense_leave_what_was_known(attendant, wire):
    attention = Attention("j1")
    for wire.is_silent in (False, True):
        attention.look()
        await attending(attendant, attention, 1.5)
    assert (attention.shown, attention.preview, len(wire.asked)) == (Shown(), "", 2)


async def test_a_wish_is_repeated_every_second_until_the_post_has_ended(attendant, wire):
    attention = Attention("j1")
    attention.wish_for("skip")
    attention.wish_for("interrupt")
    await attending(attendant, attention, 3.5)
    assert [path for _, path in wire.asked] == ["/sdapi/v1/skip"] * 4


async def test_a_wish_during_the_attempt_reaches_the_backend_at_once(attendant, wire):
    attention = Attention("j1")

    async def wish():
        await asyncio.sleep(2.25)
        attention.wish_for("interrupt")

    async with asyncio.TaskGroup() as group:
        group.create_task(attending(attendant, attention, 2.5))
        group.create_task(wish())
    assert wire.asked == [(2.25, "/sdapi/v1/interrupt")]


async def test_a_look_or_wish_after_the_attempt_asks_nobody(attendant, wire):
    attention = Attention("j1")
    await attending(attendant, attention, 1)
    attention.look()
    attention.wish_for("interrupt")
    assert (attention.wish, wire.asked) == ("interrupt", [])


async def test_a_wish_outlives_the_attempt_and_what_was_shown_does_not(attendant, wire):
    attention = Attention("j1", shown=Shown(0.5), preview="AAAA")
    await attending(attendant, attention, 1)
    assert (attention.shown, attention.preview) == (Shown(), "")
    attention.wish_for("interrupt")
    await attending(attendant, attention, 0.5)
    assert [path for _, path in wire.asked] == ["/sdapi/v1/interrupt"]
