"""What commands open."""

from __future__ import annotations

import pytest

from gateway.domain.errors import StoreUnavailable
from gateway.domain.managed import Tenant
from gateway.settings import Settings
from gateway.wiring.desk import migrate_schema, open_management


async def test_management_needs_no_redis(tmp_path):
    settings = Settings(data_dir=tmp_path, alone=True)
    await migrate_schema(settings)
    async with open_management(settings) as manager:
        assert await manager.all_of(Tenant) == []


async def test_management_makes_no_database_where_there_is_none(tmp_path):
    with pytest.raises(StoreUnavailable, match="No gateway was started here yet"):
        async with open_management(Settings(data_dir=tmp_path / "data", alone=True)):
            pass
    assert list(tmp_path.iterdir()) == []
