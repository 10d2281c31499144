"""Jobs in Redis: what repeats cost nothing, what each call costs, and exactness over real processes."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys

import pytest

from gateway.adapters.redis.connection import Connection
from gateway.adapters.redis.jobs import RedisJobs
from gateway.adapters.redis.outbox import RedisOutbox
from gateway.adapters.redis.pool import RedisPool
from gateway.domain.errors import StoreUnavailable
from gateway.domain.limits import MICROSECONDS, Fits, decide_rate, interval_us
from gateway.domain.usage import Measure, Window
from gateway.launcher.embedded import EmbeddedValkey
from gateway.ports import Beat, PoolNews, Quota
from tests.adapters.redis.state import state_of_redis
from tests.contracts.job_worlds import Process, entry, granted, leaving, new_id, pool_up, queued, rate
from tests.support.patience import PATIENCE_S
from tests.support.processes import wait_until_async

QUOTAS = (Quota(Measure.IMAGES, Window.DAY, 100, 1), Quota(Measure.GPU_SECONDS, Window.MONTH, 100, 1.5))
SEEDS = {(quota.measure, quota.window): 0.0 for quota in QUOTAS}


@pytest.fixture
def process(connection) -> Process:
    return Process("p", RedisJobs(connection, "p"), RedisPool(connection, "p"), RedisOutbox(connection))


async def seeded(process: Process, epoch: str) -> None:
    """Count the quotas' windows from now on, at no job's cost."""
    asked = entry(epoch, job_id="seeder", quotas=QUOTAS)
    await process.jobs.enter(asked)
    await process.jobs.enter(entry(epoch, job_id="seeder", quotas=QUOTAS, seeds=SEEDS))
    await process.jobs.leave(leaving("seeder"))


# --- the same operation id again


async def operations(process: Process, epoch: str):
    """Every operation that carries an id, in a state in which it changes something the first time."""
    jobs, pool = process.jobs, process.pool
    enters, runs, waits, ends = (entry(epoch, tenant_id=f"t{n}", rates=(rate(),), quotas=QUOTAS) for n in range(4))
    await seeded(process, epoch)
    for asked in (runs, ends):
        await granted(jobs, entry(epoch, job_id=asked.job_id, tenant_id=asked.tenant_id))
    await queued(jobs, entry(epoch, job_id=waits.job_id, tenant_id=waits.tenant_id))
    await pool.publish(new_id(), PoolNews({"c": "up", "d": "up"}, {"c": "n", "d": "n"}))
    await pool.poll(from_scratch=True)
    leaves = leaving(ends.job_id, images=2)
    news = PoolNews({"a": "down"}, {"c": "x"}, {}, ("b",), {"a": b"{}"})
    return {
        "enter": lambda: jobs.enter(enters),
        "requeue": lambda: jobs.requeue("op-requeue", runs.job_id, ("c",), b"{}", ""),
        "leave": lambda: jobs.leave(leaves),
        "grant": lambda: pool.grant("op-grant", [(waits.job_id, "c"), ("nobody", "d")]),
        "hold": lambda: pool.hold("op-hold", "upkeep", "d"),
        "publish": lambda: pool.publish("op-publish", news),
    }


@pytest.mark.parametrize("name", ["enter", "requeue", "leave", "grant", "hold", "publish"])
async def test_the_same_operation_again_gives_the_first_answer_and_changes_nothing(valkey, process, name):
    epoch = await pool_up(process, "a", "b")
    operation = (await operations(process, epoch))[name]
    untouched = state_of_redis(valkey.client, "test", 0)
    first = await operation()
    state = state_of_redis(valkey.client, "test", 0)
    assert state != untouched
    assert [await operation() for _ in range(3)] == [first] * 3
    assert state_of_redis(valkey.client, "test", 0) == state


async def test_a_refusal_is_forgotten_long_before_an_admission(valkey, process):
    epoch = await process.jobs.epoch()
    await process.jobs.enter(entry(epoch, operation_id="yes"))
    await process.jobs.enter(entry(epoch, operation_id="no", max_queued=0))
    assert 100_000 < valkey.client.pttl("{test}:op:yes") <= 120_000
    assert 0 < valkey.client.pttl("{test}:op:no") <= 5_000


async def test_an_enter_that_met_an_empty_store_admits_once_however_often_it_is_sent(valkey, process):
    asked = entry("never", operation_id="once")
    first = await process.jobs.enter(asked)
    assert [await process.jobs.enter(asked) for _ in range(3)] == [first] * 3
    assert valkey.client.exists("{test}:out:t") == 0


# --- what a call costs; a change that makes it dearer must be meant


async def cost(valkey, calls) -> dict[str, int]:
    """How often the server ran each command during `calls`, those of scripts included."""
    valkey.client.config_resetstat()
    await calls
    stats = valkey.client.info("commandstats")
    counts = {name.removeprefix("cmdstat_").lower(): found["calls"] for name, found in stats.items()}
    not_ours = ("config|resetstat", "info", "hello", "client|setinfo")  # the test's own, and new connections' greetings
    return {name: count for name, count in counts.items() if name not in not_ours}


async def test_a_job_that_runs_at_once_costs_two_round_trips_and_few_commands(valkey, process):
    epoch = await pool_up(process, "a", "b")
    await seeded(process, epoch)
    for _ in range(2):  # the first round loads the scripts
        asked = entry(epoch, rates=(rate(),), quotas=QUOTAS)
        entering = await cost(valkey, process.jobs.enter(asked))
        going = await cost(valkey, process.jobs.leave(leaving(asked.job_id)))
    assert entering.pop("evalsha") == going.pop("evalsha") == 1
    assert sum(entering.values()) <= 30
    assert sum(going.values()) <= 18


async def test_a_refused_job_costs_one_round_trip_and_fewer_commands_than_an_admitted_one(valkey, process):
    epoch = await pool_up(process, "a")
    for _ in range(2):
        refusing = await cost(valkey, process.jobs.enter(entry(epoch, rates=(rate(60, 0),), quotas=QUOTAS)))
    assert refusing == {"evalsha": 1, "get": 2, "mget": 1, "set": 1, "time": 1}


async def test_looking_for_grants_costs_one_round_trip_however_many_jobs_wait(valkey, process):
    waiting = [new_id("job") for _ in range(50)]
    assert await cost(valkey, process.jobs.look(waiting)) == {"hmget": 50}
    assert await cost(valkey, process.jobs.look([])) == {}


async def test_a_heartbeat_costs_the_same_however_much_is_going_on(valkey, process):
    epoch = await pool_up(process, "a")
    await process.jobs.beat(0)
    idle = await cost(valkey, process.jobs.beat(0))
    for number in range(50):
        await process.jobs.enter(entry(epoch, tenant_id=f"t{number}"))
    assert await cost(valkey, process.jobs.beat(50)) == idle


# --- exact over two real processes

ENTERS = """
import asyncio, json, sys
from gateway.adapters.redis.connection import Connection
from gateway.adapters.redis.jobs import RedisJobs
from gateway.ports import Admitted, Rate
from tests.contracts.job_worlds import entry
from tests.support.patience import PATIENCE_S
from tests.adapters.redis.test_jobs import QUOTAS

async def main(url, name, epoch, kind, count):
    connection = Connection(url, "test", timeout_s=PATIENCE_S)
    jobs = RedisJobs(connection, name)
    await jobs.epoch()
    changes = {
        "quota": {"quotas": QUOTAS[:1], "max_queued": 10_000},
        "outstanding": {"max_concurrency": 40, "max_queued": 60},
        "rate": {"rates": (Rate("r", 600.0, 30),), "max_queued": 10_000},
    }[kind]
    entries = [entry(epoch, operation_id=f"{name}{n}", job_id=f"{name}-{n}", **changes) for n in range(int(count))]
    print("ready", flush=True)
    sys.stdin.readline()
    answers = await asyncio.gather(*(jobs.enter(one) for one in entries))
    told = [(isinstance(a, Admitted), a.place.at if isinstance(a, Admitted) else a.at) for a in answers]
    print(json.dumps(told), flush=True)
    await connection.close()

asyncio.run(main(*sys.argv[1:]))
"""


def today(valkey) -> int:
    return valkey.client.time()[0] // 86_400


async def enters_of_two_processes(url: str, epoch: str, kind: str, count: int) -> list[tuple[bool, float]]:
    """Each of two processes enters `count` jobs at once, at the same time; whether each was admitted, and when."""
    command = (sys.executable, "-c", ENTERS, url)
    pipe = asyncio.subprocess.PIPE
    running = [
        await asyncio.create_subprocess_exec(
            *command, name, epoch, kind, str(count), stdin=pipe, stdout=pipe, limit=2**24
        )
        for name in ("one", "two")
    ]
    for one in running:
        assert await one.stdout.readline() == b"ready\n"
    told = await asyncio.gather(*(one.communicate(b"go\n") for one in running))
    assert [one.returncode for one in running] == [0, 0]
    return [(admitted, at) for output, _ in told for admitted, at in json.loads(output)]


@pytest.mark.parametrize("kind", ["quota", "outstanding"])
async def test_two_thousand_enters_at_once_from_two_processes_admit_exactly_a_hundred(valkey, process, kind):
    epoch = await process.jobs.epoch()
    await seeded(process, epoch)
    told = await enters_of_two_processes(valkey.url, epoch, kind, 1000)
    assert (len(told), sum(admitted for admitted, _ in told)) == (2000, 100)
    assert valkey.client.scard("{test}:out:t") == valkey.client.zcard("{test}:tickets") == 100
    if kind == "quota":
        assert state_of_redis(valkey.client, "test", 0)["quotas"][f"t:images:day:{today(valkey)}"] == 100 * MICROSECONDS


async def test_two_processes_share_a_rate_exactly(valkey, process):
    epoch = await process.jobs.epoch()
    told = await enters_of_two_processes(valkey.url, epoch, "rate", 1000)
    kept, every_us = 0, interval_us(600.0)
    for admitted, at in sorted(told, key=lambda one: one[1]):
        decision = decide_rate(kept, round(at * MICROSECONDS), every_us, 30)
        assert isinstance(decision, Fits) == admitted
        kept = decision.arrival_us if isinstance(decision, Fits) else kept
    assert 30 <= sum(admitted for admitted, _ in told) < 2000


# --- a server that began anew, and a store that was found empty


async def test_a_server_that_began_anew_from_its_file_grants_nothing_for_a_lease_and_has_keys_looked_up(tmp_path):
    with EmbeddedValkey(tmp_path, persist=True) as server:
        connection = Connection(server.url, "test", timeout_s=PATIENCE_S, now_us=1_800_000_000 * MICROSECONDS)
        process = Process("p", RedisJobs(connection, "p"), RedisPool(connection, "p"), RedisOutbox(connection))
        epoch = await pool_up(process, "a")
        before = await process.jobs.beat(0)
        assert not (await process.jobs.beat(0)).has_lost_data
        server.process.kill()
        server.process.wait()
        with pytest.raises(StoreUnavailable):
            await process.jobs.beat(0)
        server.start_again()

        async def back() -> Beat | None:
            with contextlib.suppress(StoreUnavailable):
                return await process.jobs.beat(0)
            return None

        beat = await wait_until_async(back, "the store is used again")
        assert (beat.has_lost_data, beat.generation) == (True, before.generation)
        assert beat.epoch != epoch
        await queued(process.jobs, entry(beat.epoch))
        await process.jobs.leave(leaving((await process.pool.queue())[0].arrived[0].job_id))
        connection.now_us += 10_001_000
        assert not (await process.jobs.beat(0)).has_lost_data
        await pool_up(process, "a")
        await granted(process.jobs, entry(beat.epoch))
        await connection.close()


async def test_a_store_that_is_found_empty_though_jobs_ran_before_grants_nothing_for_a_lease(process):
    process.jobs.belongs_to("d_one", has_lost_data=True)
    assert (await process.jobs.beat(0)).has_lost_data
    await queued(process.jobs, entry(await pool_up(process, "a")))


async def test_a_store_that_lost_everything_is_marked_as_the_deployments_again(valkey, process):
    process.jobs.belongs_to("d_one", has_lost_data=False)
    await process.jobs.beat(0)
    valkey.client.flushall()
    await process.jobs.beat(0)
    assert valkey.client.get("{test}:deployment") == "d_one"
