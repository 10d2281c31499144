"""Two replicas behind a balancer that follows `/readyz`, restarted one after the other under load: nobody notices."""

from __future__ import annotations

import asyncio
import json
import signal
from collections import Counter

import httpx2

from gateway.domain.managed import Tenant
from gateway.flow.credentials import KeyRequest
from gateway.settings import Settings
from gateway.wiring.desk import open_management, open_reconciler
from tests.chaos.balancer import Balancer, balancing
from tests.support.patience import PATIENCE_S
from tests.support.pools import AUTHOR, KEY, SMALL, Pool
from tests.support.processes import GatewayProcess, wait_until, wait_until_async

MANY = "sk-many-0123456789abcdefghij"
CALLS_AT_ONCE = 6
GRACE_S = "30"
DRAIN_S = "4"  # longer than the balancer needs to look at both replicas, even where each look takes its whole second


def replica(pool: Pool, database: str, port: int | None = None) -> GatewayProcess:
    """One more gateway process on the same stores."""
    declared = [{"name": sim.name, "url": sim.url} for sim in pool.sims.values()]
    started = pool.gateways.start(
        "serve",
        port=port,
        redis_url=pool.valkey.url,
        database_url=database,
        alone="true",
        backends=json.dumps(declared),
        first_key=KEY,
        drain_delay_s=DRAIN_S,
        grace_s=GRACE_S,
        lease_s="4",
    )
    started.wait_until_ready()
    return started


async def make_key(settings: Settings) -> None:
    """A key whose plan no load here exhausts."""
    async with open_management(settings) as manager:
        await manager.credentials.ensure_key(AUTHOR, KeyRequest("many", "test", secret=MANY))
        await manager.create_plan(AUTHOR, "many-plan", {"requests_per_minute": 1_000_000, "burst": 1_000_000})
        await manager.change(AUTHOR, (Tenant, "many"), {"plan": "many-plan"})


async def load(balancer: Balancer, is_over: asyncio.Event) -> Counter[object]:
    """Calls without end on a few connections, with a new one for each call, until it is over: how they ended."""
    ended: Counter[object] = Counter()

    async def caller(number: int) -> None:
        model = ("red", "blue")[number % 2]
        while not is_over.is_set():
            async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{balancer.port}", timeout=PATIENCE_S) as client:
                try:
                    body = {**SMALL, "sd_model_checkpoint": model}
                    headers = {"Authorization": f"Bearer {MANY}"}
                    ended[(await client.post("/sdapi/v1/txt2img", json=body, headers=headers)).status_code] += 1
                except httpx2.HTTPError as error:
                    ended[repr(error)] += 1

    async with asyncio.TaskGroup() as group:
        for number in range(CALLS_AT_ONCE):
            group.create_task(caller(number))
    return ended


async def roll(pool: Pool, database: str, replicas: list[GatewayProcess]) -> Counter[object]:
    """End each replica with SIGTERM while the other serves, and start it anew."""
    is_over = asyncio.Event()
    async with balancing() as balancer, asyncio.TaskGroup() as group:
        balancer.targets = [one.port for one in replicas]
        await wait_until_async(lambda: asyncio.sleep(0, len(balancer.ready) == 2), "both are ready")
        calls = group.create_task(load(balancer, is_over))
        for number, one in enumerate(replicas):
            one.process.send_signal(signal.SIGTERM)
            assert await asyncio.to_thread(one.ended) == 0
            replicas[number] = await asyncio.to_thread(replica, pool, database, one.port)
            await wait_until_async(lambda: asyncio.sleep(0, len(balancer.ready) == 2), "both are ready again")
        is_over.set()
        ended = await calls
        balancer.targets.clear()
    return ended


def test_a_rolling_restart_under_load_fails_no_call_and_loses_no_job(gateways, valkey, tmp_path):
    pool = Pool(gateways, valkey)
    for name in ("one", "two"):
        pool.add_sim(name, "red,blue", seconds_per_megapixel_step="15", swap_seconds="0.1")  # 60 ms a picture
    for sim in pool.sims.values():
        wait_until(sim.is_up, f"{sim.name} is up")
    database = f"sqlite:///{tmp_path}/shared.db"
    replicas = [replica(pool, database), replica(pool, database)]
    pool.gateway = replicas[0]
    asyncio.run(make_key(pool.settings.changed(database_url=database)))
    ended = asyncio.run(roll(pool, database, replicas))
    assert set(ended) == {200}
    assert ended[200] > 50, "that was no load"
    asyncio.run(adds_up(pool, database, served=ended[200]))


async def adds_up(pool: Pool, database: str, *, served: int) -> None:
    settings = pool.settings.changed(database_url=database)
    async with open_reconciler(settings) as reconciler:

        async def is_settled() -> bool:
            found = await reconciler.reconcile()
            return (found.recorded, found.open, found.difference, found.unaccounted) == (served, 0, 0, 0)

        await wait_until_async(is_settled, "every call that was served has its record")
