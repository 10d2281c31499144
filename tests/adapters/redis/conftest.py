"""After every test of this folder that used the server, no key may be left without a TTL."""

from __future__ import annotations

import pytest

from gateway.adapters.redis.connection import Connection
from gateway.adapters.redis.jobs import RedisJobs
from tests.adapters.redis.proxy import proxy_before
from tests.support.keys import keys_without_ttl
from tests.support.patience import PATIENCE_S


@pytest.fixture(autouse=True)
async def _no_key_stays_for_ever(request):
    uses_server = "valkey" in request.fixturenames
    valkey = request.getfixturevalue("valkey") if uses_server else None
    yield
    if valkey is None:
        return
    for namespace in {key.partition("}:")[0][1:] for key in valkey.client.scan_iter(count=1000)}:
        connection = Connection(valkey.url, namespace, timeout_s=PATIENCE_S)
        await RedisJobs(connection, "the last", lease_s=1e6).beat(0)
        await connection.close()
    assert keys_without_ttl(valkey.client) == []


@pytest.fixture
async def connection(valkey):
    """A connection straight to the server, patient with a busy machine."""
    opened = Connection(valkey.url, "test", timeout_s=PATIENCE_S)
    yield opened
    await opened.close()


@pytest.fixture
async def proxy(valkey):
    """A proxy in front of the server."""
    async with proxy_before(valkey.url) as running:
        yield running
