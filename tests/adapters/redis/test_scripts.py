"""The Lua scripts and their oracle agree on every history, and the invariants hold after each step of it."""

from __future__ import annotations

from importlib import resources
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.adapters.redis.scripts import NAMES, load_script
from gateway.domain.backends import Condition
from gateway.domain.jobs import Outcome
from gateway.domain.usage import Measure, Window
from gateway.ports import PoolNews, Quota, Rate, Remembered
from tests.adapters.redis.twins import BACKENDS, CAPS, CHECKPOINTS, Twins
from tests.contracts.job_worlds import entry, leaving, new_id
from tests.support.keys import keys_without_ttl

processes = st.integers(0, 2)
jobs = st.integers(0, 30)
backends = st.sampled_from(BACKENDS)
some_backends = st.lists(backends, unique=True).map(tuple)
checkpoints = st.sampled_from(CHECKPOINTS)
rates = st.sampled_from(
    [(), (Rate("x", 60, 2),), (Rate("x", 600, 3), Rate("y", 20, 2)), (Rate("y", 20, 1), Rate("x", 0.7, 4))]
)
quotas = st.lists(
    st.builds(
        Quota,
        st.sampled_from(Measure),
        st.sampled_from(Window),
        st.sampled_from([5, 12.5]),
        st.sampled_from([0, 1, 2.25]),
    ),
    max_size=3,
    unique_by=lambda quota: (quota.measure, quota.window),
).map(tuple)
STEPS: dict[str, tuple[Any, ...]] = {
    "enter": (processes, st.sampled_from([*CAPS]), checkpoints, some_backends, st.integers(0, 3), rates, quotas),
    "leave": (processes, jobs, st.sampled_from([None, "", "m"]), st.booleans(), st.sampled_from([0, 1, 3])),
    "requeue": (processes, jobs, some_backends, st.sampled_from([None, "", "n n"])),
    "restore": (processes, jobs, st.sampled_from([*CAPS]), st.booleans()),
    "poll": (processes, st.booleans()),
    "grant": (processes, st.lists(st.tuples(jobs, backends), max_size=4)),
    "hold": (processes, backends),
    "publish": (
        processes,
        st.dictionaries(backends, st.sampled_from(["up", "up", "down", "preparing"])),
        st.dictionaries(backends, checkpoints),
        some_backends,
        st.lists(backends, unique=True, max_size=1).map(tuple),
        st.dictionaries(backends, st.sampled_from([b"{}", b'{"x":1}']), max_size=1),
    ),
    "beat": (processes, st.integers(0, 2)),
    "look": (processes, st.lists(jobs, max_size=3)),
    "next_message": (processes,),
    "resign": (processes,),
    "drop_records": (st.integers(1, 3),),
    "keys_changed": (),
    "forward": (st.sampled_from([0.001, 0.4, 2.5, 4.0, 11.0, 50_000.0]),),
    "live_on": (processes,),
    "repeat": (st.integers(0, 40),),
}
OFTEN = ("enter", "enter", "enter", "leave", "leave", "requeue", "grant", "grant", "poll", "publish", "repeat")
steps = st.sampled_from([*STEPS, *OFTEN]).flatmap(lambda kind: st.tuples(st.just(kind), *STEPS[kind]))


class Actor:
    """Carries out one drawn step; each method is a kind of step."""

    def __init__(self, twins: Twins) -> None:
        self._twins = twins

    async def enter(self, process, tenant, checkpoint, runnable_on, max_queued, *limits):
        rates, quotas = limits
        asked = entry(
            self._twins.epoch,
            tenant_id=tenant,
            checkpoint=checkpoint,
            runnable_on=runnable_on,
            max_concurrency=CAPS[tenant],
            max_queued=max_queued,
            rates=rates,
            quotas=quotas,
        )
        await self._twins.enter(process, asked, seed=1.5)

    async def leave(self, process, job, loaded, is_abandoned, images):
        gone = leaving(
            self._twins.job(job),
            loaded=loaded,
            is_abandoned=is_abandoned,
            images=images,
            gpu_seconds=images * 0.37,
            outcome=Outcome.FAILED if is_abandoned else Outcome.FINISHED,
        )
        await self._twins.once(process, lambda p: p.jobs.leave(gone))

    async def requeue(self, process, job, runnable_on, loaded):
        arguments = (new_id(), self._twins.job(job), runnable_on, b'{"again":1}', loaded)
        await self._twins.once(process, lambda p: p.jobs.requeue(*arguments))

    async def restore(self, process, job, tenant, is_known):
        job_id = self._twins.job(job) if is_known else new_id("job")
        self._twins.known_jobs.append(job_id)
        asked = entry("", job_id=job_id, tenant_id=tenant, max_concurrency=CAPS[tenant])
        remembered, operation_id = Remembered(asked, 1_700_000_000.25 + job, None), new_id()
        await self._twins.once(process, lambda p: p.jobs.restore(operation_id, remembered))

    async def poll(self, process, from_scratch):
        await self._twins.both(process, lambda p: p.pool.poll(from_scratch=from_scratch))

    async def grant(self, process, decisions):
        operation_id = new_id()
        named = [(self._twins.job(job), backend) for job, backend in decisions]
        await self._twins.once(
            process, lambda p: p.pool.grant(operation_id, named, {named[0][0]: "first"} if named else {})
        )

    async def hold(self, process, backend):
        operation_id, upkeep = new_id(), new_id("upkeep")
        self._twins.known_jobs.append(upkeep)
        await self._twins.once(process, lambda p: p.pool.hold(operation_id, upkeep, backend))

    async def publish(self, process, states, loaded, quiet, removed, inventories):
        operation_id = new_id()
        why = {name: Condition(state, began_at=1.5) for name, state in states.items() if state != "up"}
        news = PoolNews(states, loaded, {name: self._twins.mark(name) for name in quiet}, removed, inventories, why)
        await self._twins.once(process, lambda p: p.pool.publish(operation_id, news))

    async def beat(self, process, held_count):
        await self._twins.beat(process, held_count)

    async def look(self, process, which):
        await self._twins.both(process, lambda p: p.jobs.look([self._twins.job(job) for job in which]))

    async def next_message(self, process):
        await self._twins.next_message(process)

    async def resign(self, process):
        await self._twins.both(process, lambda p: p.pool.resign())

    async def drop_records(self, count):
        await self._twins.drop_records(count)

    async def keys_changed(self):
        await self._twins.keys_changed()

    async def forward(self, seconds):
        self._twins.fast_forward(seconds)

    async def live_on(self, process):
        """Long enough for the others to be taken for dead."""
        for _ in range(6):
            await self._twins.beat(process, 0)
            self._twins.fast_forward(2.0)
        await self._twins.beat(process, 0)

    async def repeat(self, which):
        await self._twins.repeat(which)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(st.lists(steps, min_size=8, max_size=40))
async def test_scripts_and_oracle_agree_on_any_history_of_several_processes(valkey, history):
    twins = Twins(valkey.client, valkey.url)
    try:
        await twins.begin()
        everything_up = (0, dict.fromkeys(BACKENDS, "up"), {"a": "m", "b": "m"}, (), (), {})
        for kind, *arguments in [("poll", 0, True), ("publish", *everything_up), *history]:
            await getattr(Actor(twins), kind)(*arguments)
    finally:
        await twins.close()
    assert keys_without_ttl(valkey.client) == []


@pytest.mark.parametrize("name", [*NAMES, "prelude"])
def test_every_script_begins_with_its_purpose_its_arguments_its_answer_and_its_oracle(name):
    text = (resources.files("gateway.adapters.redis") / "lua" / f"{name}.lua").read_text()
    head = [line for line in text.splitlines() if line.startswith("-- ")]
    for word in ("-- purpose: ", "-- KEYS[1]: ", "-- ARGV[1]", "-- returns: ", "-- oracle: "):
        assert any(line.startswith(word) for line in head), word


def test_every_lua_file_is_a_script_that_can_be_loaded():
    folder = resources.files("gateway.adapters.redis") / "lua"
    files = {file.name.removesuffix(".lua") for file in folder.iterdir()} - {"prelude"}
    assert files == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_the_server_keeps_a_script_under_the_sha_that_is_asked_for(valkey, name):
    script = load_script(name)
    assert valkey.client.script_load(script.text) == script.sha
