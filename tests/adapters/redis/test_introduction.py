"""What a process and its store must know of each other before anything else is asked."""

from __future__ import annotations

import pytest

from gateway.adapters.redis.check import UnfitServer
from gateway.adapters.redis.connection import Connection
from gateway.adapters.redis.introduction import Introduction
from gateway.adapters.redis.jobs import RedisJobs
from gateway.domain.errors import StoreUnavailable


@pytest.fixture
async def shut(valkey):
    """The process's own connection, shut; and its introduction."""
    connection = Connection(valkey.url, "test", is_open=False)
    jobs = RedisJobs(connection, "p")

    async def never():
        return False

    yield connection, Introduction(lambda: Connection(valkey.url, "test"), connection, jobs, never)
    await connection.close()


async def test_nothing_is_sent_to_a_store_before_it_is_known_to_be_fit(shut, valkey):
    connection, introduction = shut
    with pytest.raises(StoreUnavailable):
        await connection.command("SET", "{test}:x", "1", "PX", 1000)
    with pytest.raises(StoreUnavailable):
        await RedisJobs(connection, "p").beat(0)
    with pytest.raises(StoreUnavailable):
        await connection.pop("x", 1.0)
    assert valkey.client.keys() == []
    assert not introduction.is_over

    await introduction.attempt("d_one")
    assert introduction.is_over
    assert await connection.command("SET", "{test}:x", "1", "PX", 1000)
    assert "{test}:x" in valkey.client.keys()


async def test_a_store_of_another_deployment_stays_shut(shut, valkey):
    connection, introduction = shut
    valkey.client.set("{test}:deployment", "d_other")
    with pytest.raises(UnfitServer, match="another gateway's database"):
        await introduction.insist("d_one")
    with pytest.raises(StoreUnavailable):
        await connection.command("PING")


async def test_keys_that_changed_before_the_store_was_there_are_told_once_it_is(shut, connection):
    _, introduction = shut
    epoch = await RedisJobs(connection, "another").epoch()
    await introduction.keys_changed()
    assert await RedisJobs(connection, "another").epoch() == epoch
    await introduction.insist("d_one")
    told = await RedisJobs(connection, "another").epoch()
    assert told != epoch
    await introduction.insist("d_one")
    assert await RedisJobs(connection, "another").epoch() == told
    await introduction.keys_changed()
    assert await RedisJobs(connection, "another").epoch() != told


async def test_a_lease_that_another_start_of_the_server_left_behind_counts_no_more(shut, valkey):
    _, introduction = shut
    valkey.client.set("{test}:lease", f"gone {valkey.client.time()[0]}000000", px=100_000)
    valkey.client.set("{test}:server", "another start", px=100_000)
    await introduction.attempt("d_one")
    assert valkey.client.get("{test}:lease") is None


async def test_a_process_that_starts_beside_others_takes_nobodys_lease(shut, valkey):
    _, introduction = shut
    await introduction.attempt("d_one")
    valkey.client.set("{test}:lease", f"lives {valkey.client.time()[0]}000000", px=100_000)
    await introduction.attempt("d_one")
    assert valkey.client.get("{test}:lease").startswith("lives")
