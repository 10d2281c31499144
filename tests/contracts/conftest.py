"""The worlds of the job store's contract; after each test in Redis no key may be left without a TTL."""

from __future__ import annotations

import pytest

from tests.contracts.job_worlds import MemoryWorld, RedisWorld
from tests.support.keys import keys_without_ttl


@pytest.fixture(params=["memory", "redis"])
async def world(request):
    if request.param == "memory":
        yield MemoryWorld()
        return
    valkey = request.getfixturevalue("valkey")
    redis_world = RedisWorld(valkey.url, "contract")
    yield redis_world
    await redis_world.process("the last").jobs.beat(0)
    await redis_world.close()
    assert keys_without_ttl(valkey.client) == []
