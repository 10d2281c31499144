"""Jobs under random kills of callers, gateways, backends and both stores: each admitted job has exactly one record.

`make chaos` sends ten thousand; here five hundred go through one blow of each kind at least.
"""

from __future__ import annotations

import asyncio
from time import monotonic

import redis

from gateway.domain.reconciliation import Reconciliation
from gateway.wiring.desk import open_reconciler
from tests.chaos.arena import Arena
from tests.support.patience import PATIENCE_S
from tests.support.processes import wait_until_async

HELD = ("out:*", "run:*", "held:*", "slot", "tickets")


def holdings(client: redis.Redis) -> list[str]:
    """Keys under which jobs hold anything; each vanishes with its last member."""
    return sorted(key for pattern in HELD for key in client.scan_iter("{gateway}:" + pattern, count=1000))


async def through(arena: Arena, jobs: int) -> None:
    async with asyncio.TaskGroup() as group:
        calls = group.create_task(arena.call(jobs))
        group.create_task(arena.torment(calls, most_pause_s=1.5 if jobs < 1000 else 6.0))


async def settled(arena: Arena, client: redis.Redis) -> tuple[Reconciliation, list[str]]:
    """What is missing and what is still held: as soon as that is nothing, or what it is when patience ends."""
    deadline = monotonic() + PATIENCE_S
    async with open_reconciler(arena.settings) as reconciler:
        state: tuple[Reconciliation, list[str]] | None = None

        async def is_settled() -> bool:
            nonlocal state
            found = await reconciler.reconcile()
            state = (found, holdings(client))
            is_over = found.open == found.unwritten == found.difference == 0 and not state[1]
            return is_over or monotonic() > deadline

        await wait_until_async(is_settled, "it settled", within_s=2 * PATIENCE_S)
    assert state is not None
    return state


def test_every_admitted_job_has_exactly_one_record_whoever_is_killed(gateways, own_store, tmp_path, request):
    jobs, seed = request.config.getoption("--chaos-jobs"), request.config.getoption("--chaos-seed")
    arena = Arena(gateways, own_store, tmp_path, seed)

    async def story() -> tuple[Reconciliation, list[str]]:
        await arena.begin(replicas=2 if jobs < 1000 else 3, backends=2 if jobs < 1000 else 4)
        await through(arena, jobs)
        return await settled(arena, own_store.client)

    found, held = asyncio.run(story())
    print(f"\n{found}\nanswers {dict(arena.answers)}\nkills {dict(arena.kills)}")  # noqa: T201 - for whoever ran it
    assert held == []
    assert (found.difference, found.unaccounted, found.open, found.unwritten) == (0, 0, 0, 0)
    assert found.recorded == found.admitted > jobs / 4
    assert sum(arena.answers.values()) == jobs
    assert arena.answers["no answer"] == 0
    assert set(arena.kills) == {kind.__name__ for kind in arena.all_kinds()}
