"""The pool in Redis: what a late or repeated poll may do, and what polls and snapshots cost."""

from __future__ import annotations

from gateway.adapters.redis.connection import Connection
from gateway.adapters.redis.jobs import RedisJobs
from gateway.adapters.redis.pool import RedisPool
from gateway.adapters.redis.scripts import load_script
from tests.contracts.job_worlds import entry, leaving, queued
from tests.support.patience import PATIENCE_S


async def test_a_poll_that_was_delayed_on_its_way_drops_no_event_that_nobody_saw(connection):
    jobs, pool = RedisJobs(connection, "p"), RedisPool(connection, "p")
    epoch = await jobs.epoch()
    await pool.poll(from_scratch=True)
    early = pool._cursor
    first, second = entry(epoch), entry(epoch)
    await queued(jobs, first)
    assert [job.job_id for job in (await pool.poll(from_scratch=False)).arrived] == [first.job_id]
    await queued(jobs, second)
    for cursor in (early, ""):  # the same process sent these before, and nobody reads their answers any more
        await connection.run(load_script("poll"), "", "p", cursor)
    assert [job.job_id for job in (await pool.poll(from_scratch=False)).arrived] == [second.job_id]


async def test_events_that_were_seen_do_not_pile_up(valkey, connection):
    jobs, pool = RedisJobs(connection, "p"), RedisPool(connection, "p")
    epoch = await jobs.epoch()
    await pool.poll(from_scratch=True)
    for _ in range(20):
        asked = entry(epoch)
        await queued(jobs, asked)
        await jobs.leave(leaving(asked.job_id))
        await pool.poll(from_scratch=False)
    assert valkey.client.xlen("{test}:events") <= 3


async def test_two_gateways_with_namespaces_of_their_own_share_a_server_without_meeting(valkey, connection):
    other = Connection(valkey.url, "other", timeout_s=PATIENCE_S)
    jobs, stranger = RedisJobs(connection, "p"), RedisPool(other, "p")
    await queued(jobs, entry(await jobs.epoch()))
    changes = await stranger.poll(from_scratch=True)
    assert (changes.arrived, changes.is_all) == ((), True)
    assert await RedisPool(connection, "q").poll(from_scratch=True) is not None
    await other.close()


async def test_every_key_of_a_namespace_lies_in_one_slot_of_a_cluster(valkey, connection):
    jobs, pool = RedisJobs(connection, "p"), RedisPool(connection, "p")
    asked = entry(await jobs.epoch())
    await queued(jobs, asked)
    await pool.poll(from_scratch=True)
    await jobs.leave(leaving(asked.job_id))
    keys = valkey.client.keys()
    assert len(keys) > 8
    assert all(key.startswith("{test}:") for key in keys)
