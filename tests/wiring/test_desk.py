"""What commands open."""

from __future__ import annotations

import pytest

from gateway.adapters.redis.connection import Connection
from gateway.adapters.redis.pool import RedisPool
from gateway.domain.backends import Backend
from gateway.domain.errors import StoreUnavailable
from gateway.domain.managed import Tenant
from gateway.settings import Settings
from gateway.wiring.desk import migrate_schema, open_management, open_slots
from tests.support.ports import free_port


async def test_management_needs_no_redis(tmp_path):
    settings = Settings(data_dir=tmp_path, alone=True)
    await migrate_schema(settings)
    async with open_management(settings) as manager:
        assert await manager.all_of(Tenant) == []


async def test_a_commands_work_on_a_backend_holds_its_slot_where_a_gateway_serves(tmp_path, valkey):
    settings = Settings(data_dir=tmp_path, redis_url=valkey.url, alone=True)
    backend = Backend("a", "http://a.test")
    connection = Connection(valkey.url, settings.namespace)
    pool = RedisPool(connection, "gateway")
    try:
        async with open_slots(settings, object()) as slot, slot(backend) as is_held:
            assert is_held
            assert not await pool.hold("op", "upkeep-x", "a")
        assert await pool.hold("op 2", "upkeep-x", "a")
        async with open_slots(settings, object()) as slot, slot(backend) as is_held:
            assert not is_held
    finally:
        await connection.close()


async def test_where_no_gateway_serves_every_slot_is_free(tmp_path):
    backend = Backend("a", "http://a.test")
    for url in ("", f"redis://127.0.0.1:{free_port()}"):
        settings = Settings(data_dir=tmp_path, redis_url=url, alone=True)
        async with open_slots(settings, object()) as slot, slot(backend) as is_held:
            assert is_held


async def test_management_makes_no_database_where_there_is_none(tmp_path):
    with pytest.raises(StoreUnavailable, match="No gateway was started here yet"):
        async with open_management(Settings(data_dir=tmp_path / "data", alone=True)):
            pass
    assert list(tmp_path.iterdir()) == []
