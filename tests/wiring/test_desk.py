"""What commands open."""

from __future__ import annotations

from gateway.domain.managed import Tenant
from gateway.settings import Settings
from gateway.wiring import open_management


async def test_management_needs_no_redis_and_makes_the_tables(tmp_path):
    settings = Settings(data_dir=tmp_path, alone=True)
    async with open_management(settings) as manager:
        assert await manager.all_of(Tenant) == []
    assert (tmp_path / "gateway.db").exists()
