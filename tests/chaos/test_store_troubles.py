"""The store frozen, killed, emptied, out of memory, under two gateway processes: calls are refused at once, what runs
finishes, those who wait keep their place, and all comes back by itself with a ledger that adds up.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections import Counter
from contextlib import closing
from functools import partial
from statistics import median
from time import monotonic
from typing import NamedTuple

import pytest

from gateway.settings import Settings
from gateway.wiring.desk import open_reconciler
from tests.chaos.arena import at_pace
from tests.chaos.conftest import OwnStore
from tests.support.pools import SMALL, Pool
from tests.support.processes import wait_until, wait_until_async

KEY = "sk-second-0123456789abcdefghij"
GENEROUS = {"requests_per_minute": 1_000_000, "burst": 1_000_000, "max_queued": 2000, "max_concurrency": 8}
FAST = {"seconds_per_megapixel_step": "0.01", "swap_seconds": "0.05"}
LEASE_S = 4.0
QUICK = {"lease_s": str(LEASE_S), "store_timeout_s": "0.4"}  # as operators have it: a silent store is noticed soon
RED, BLUE = {**SMALL, "sd_model_checkpoint": "red"}, {**SMALL, "sd_model_checkpoint": "blue"}
TXT2IMG = "/sdapi/v1/txt2img"
TROUBLES = {
    "frozen": (OwnStore.freeze, OwnStore.thaw),
    "killed": (OwnStore.kill, OwnStore.start_again),
    "out of memory": (OwnStore.run_out_of_memory, OwnStore.get_memory),
}


def start(pool: Pool) -> None:
    """Two processes in front of two backends; `red` is only on the first, which holds what it gets."""
    pool.add_sim("one", "red", **FAST)
    pool.add_sim("two", "blue", **FAST)
    pool.start(workers=2, **QUICK)
    pool.add_key(KEY, "many", GENEROUS)
    wait_until(lambda: pool.post(RED, KEY).status_code == 200, "red is served")
    wait_until(lambda: pool.post(BLUE, KEY).status_code == 200, "blue is served")
    pool.sims["one"].ask("/__sim/hold?phase=inference", method="POST")


class Refusal(NamedTuple):
    """`livez_s` is what a call that needs no store took just before: how busy the machine is."""

    sent_at_s: float
    took_s: float
    livez_s: float
    status: int
    has_retry_after: bool


async def calls_while_away(client, seconds: float, found: list[Refusal]) -> None:
    """Forty calls a second for that long, each after one that needs no store: what became of each into `found`."""
    began = monotonic()

    async def one() -> None:
        asked = monotonic()
        await client.get("/livez")
        sent = monotonic()
        answer = await client.post(TXT2IMG, json=BLUE)
        took_s = (monotonic() - sent, sent - asked)
        found.append(Refusal(sent - began, *took_s, answer.status_code, "retry-after" in answer.headers))

    await at_pace(one, every_s=0.025, for_s=seconds)


async def _any_sent_after(seconds: float, answers: list[Refusal]) -> bool:
    return any(answer.sent_at_s > seconds for answer in answers)


async def through(pool: Pool, store: OwnStore, begin, end, away_s: float) -> None:
    """One call runs and two wait when the trouble begins; all three are served, and what comes meanwhile is refused."""
    async with pool.client(KEY) as client, asyncio.TaskGroup() as group:
        running = group.create_task(client.post(TXT2IMG, json=RED))
        await wait_until_async(lambda: asyncio.sleep(0, store.client.hexists("{gateway}:slot", "one")), "red runs")
        waiting = [group.create_task(client.post(TXT2IMG, json=RED)) for _ in range(2)]
        await wait_until_async(lambda: asyncio.sleep(0, store.client.zcard("{gateway}:tickets") == 2), "two wait")
        begin(store)
        answers: list[Refusal] = []
        load = group.create_task(calls_while_away(client, away_s, answers))
        well_into_it = partial(_any_sent_after, 1.5, answers)
        await wait_until_async(well_into_it, "calls sent well into the outage are answered")
        assert (await client.get("/sdapi/v1/sd-models")).status_code == 200
        await asyncio.to_thread(pool.sims["one"].ask, "/__sim/hold?phase=inference", None, "DELETE")
        assert (await running).status_code == 200
        await load
        end(store)
        assert Counter(answer.status for answer in answers) == {503: len(answers)}
        assert all(answer.has_retry_after for answer in answers)
        late = [answer for answer in answers if answer.sent_at_s > 1.0]
        # The promise is 100 ms, measured by the bench on a quiet machine; here: nobody waits for the store's time-out,
        # which would be 0.4 s more than a call takes that needs no store.
        assert median(one.took_s for one in late) < 0.2 + 2 * median(one.livez_s for one in late)
        assert [(await call).status_code for call in waiting] == [200, 200]

        async def is_served() -> bool:
            return (await client.post(TXT2IMG, json=BLUE)).status_code == 200

        await wait_until_async(is_served, "new calls are served again")


async def everything_adds_up(pool: Pool, store: OwnStore) -> None:
    settings: Settings = pool.settings
    async with open_reconciler(settings) as reconciler:

        async def is_settled() -> bool:
            found = await reconciler.reconcile()
            return (found.difference, found.unaccounted, found.open, found.unwritten) == (0, 0, 0, 0)

        await wait_until_async(is_settled, "the ledger adds up")
    prefix = "{gateway}:"
    wait_until(lambda: not store.client.hlen(f"{prefix}slot"), "no slot is held")
    left = [key for pattern in ("out:*", "run:*", "held:*") for key in store.client.scan_iter(prefix + pattern)]
    assert left == []
    with closing(sqlite3.connect(settings.data_dir / "gateway.db")) as database:
        outcomes = Counter(outcome for (outcome,) in database.execute("select outcome from ledger"))
    # What was sent just before the outage was noticed may have been admitted without anybody to answer to: `failed`.
    assert outcomes["lost"] == 0
    assert outcomes["finished"] >= 6


def no_process_gave_up(pool: Pool) -> None:
    log = pool.gateway.output
    assert pool.gateway.process.poll() is None
    assert "this process ends" not in log
    lines = (json.loads(line) for line in log.splitlines() if line.startswith("{"))
    failures = {line.get("error", line.get("exception", "")) for line in lines if line.get("event") == "loop_failed"}
    assert [text for text in failures if "StoreUnavailable" not in str(text)] == []


@pytest.mark.parametrize("trouble", TROUBLES)
def test_a_store_that_is_away_longer_than_a_lease_costs_only_the_calls_that_come_meanwhile(
    own_pool, own_store, trouble, request
):
    start(own_pool)
    workers = set(own_pool.gateway.descendants("gateway"))
    away_s = request.config.getoption("--away") or LEASE_S + 2
    asyncio.run(through(own_pool, own_store, *TROUBLES[trouble], away_s=away_s))
    asyncio.run(everything_adds_up(own_pool, own_store))
    no_process_gave_up(own_pool)
    assert set(own_pool.gateway.descendants("gateway")) == workers


def test_a_store_that_comes_back_empty_is_told_everything_and_belongs_to_the_deployment_again(
    gateways, forgetful_store
):
    pool = Pool(gateways, forgetful_store.running)
    start(pool)
    deployment = forgetful_store.client.get("{gateway}:deployment")
    asyncio.run(through(pool, forgetful_store, OwnStore.kill, OwnStore.start_again, away_s=3.0))
    asyncio.run(everything_adds_up(pool, forgetful_store))
    no_process_gave_up(pool)
    assert forgetful_store.client.get("{gateway}:deployment") == deployment is not None


def test_a_process_that_ends_while_the_store_is_away_still_closes_the_record_of_its_last_job(own_pool, own_store):
    own_pool.add_sim("one", "red", **FAST)
    gateway = own_pool.start(**QUICK)
    wait_until(lambda: own_pool.post(RED).status_code == 200, "red is served")
    own_pool.sims["one"].ask("/__sim/hold?phase=inference", method="POST")

    async def story() -> int:
        async with own_pool.client() as client, asyncio.TaskGroup() as group:
            running = group.create_task(client.post(TXT2IMG, json=RED))
            await wait_until_async(lambda: asyncio.sleep(0, own_store.client.hexists("{gateway}:slot", "one")), "runs")
            await asyncio.to_thread(own_store.kill)
            await asyncio.to_thread(own_pool.sims["one"].ask, "/__sim/hold?phase=inference", None, "DELETE")
            return (await running).status_code

    assert asyncio.run(story()) == 200
    gateway.process.terminate()
    wait_until(lambda: gateway.get_json("/livez") is None, "it listens no more")
    own_store.start_again()
    assert gateway.ended() == 0
    own_pool.start(lease_s=str(LEASE_S), database_url=f"sqlite:///{gateway.home / 'gateway.db'}")

    def outcomes() -> list[str]:
        with closing(sqlite3.connect(gateway.home / "gateway.db")) as database:
            return [outcome for (outcome,) in database.execute("select outcome from ledger")]

    wait_until(lambda: own_store.client.xlen("{gateway}:outbox") == 0, "every record is written")
    assert outcomes() == ["finished", "finished"]
