"""Opening and closing everything, in order."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest

from gateway.domain.managed import Tenant
from gateway.wiring.desk import open_management
from gateway.wiring.serving import open_services
from gateway.wiring.start import StartFailed
from tests.adapters.redis.test_check import server_that_says
from tests.api.whole import KEY, opened, settings_for
from tests.support.patience import PATIENCE_S


async def test_the_dispatchers_lease_is_given_up_at_the_end_so_that_another_process_leads_at_once(tmp_path, valkey):
    async with opened(tmp_path, valkey) as whole:
        await whole.post()
        assert valkey.client.exists("{gateway}:lease")
    assert not valkey.client.exists("{gateway}:lease")


async def test_first_credentials_are_shown_once_and_given_ones_never(tmp_path, valkey, capsys):
    async def start(**more):
        settings = settings_for(tmp_path, valkey.url, [], **more)
        async with open_services(settings, SimpleNamespace()):
            return capsys.readouterr().out

    shown = await start()
    assert "admin token" in shown
    assert KEY not in shown
    assert await start() == ""


async def test_a_minted_first_key_is_shown(tmp_path, valkey, capsys):
    async with open_services(settings_for(tmp_path, valkey.url, [], first_key=""), SimpleNamespace()):
        shown = capsys.readouterr().out
    assert "gateway: first key    sk-" in shown


async def test_the_demo_has_its_two_tenants_however_often_it_starts(tmp_path, valkey, capsys):
    demo = {"demo_key": "sk-demo-one-0123456789", "demo_key_2": "sk-demo-two-0123456789", "demo_model_2": "red"}
    settings = settings_for(tmp_path, valkey.url, [], first_key="", **demo)
    for _ in range(2):
        async with open_services(settings, SimpleNamespace()):
            pass
    async with open_management(settings) as manager:
        assert [tenant.name for tenant in await manager.all_of(Tenant)] == ["demo", "demo-2"]
    assert capsys.readouterr().out == ""


async def test_a_start_that_fails_half_way_closes_what_was_opened(tmp_path, valkey):
    before = asyncio.all_tasks()
    settings = settings_for(tmp_path, valkey.url, [], admin_token=KEY)
    with pytest.raises(Exception, match="admin token"):
        async with open_services(settings, SimpleNamespace()):
            pass
    assert asyncio.all_tasks() - before == set()


async def test_a_store_that_appears_late_and_is_unfit_ends_the_process_with_the_cause(tmp_path, unused_tcp_port):
    ended, told = [], asyncio.Event()
    state = SimpleNamespace(cannot_start=lambda why: (ended.append(why), told.set()))
    settings = settings_for(tmp_path, f"redis://127.0.0.1:{unused_tcp_port}?protocol=2", [])
    async with open_services(settings, state) as services, asyncio.timeout(PATIENCE_S):
        assert not services.readiness.is_serving()
        async with server_that_says("redis_version:6.2.14\r\nmaxmemory_policy:noeviction\r\n", unused_tcp_port):
            await told.wait()
    assert "needs 7 or newer" in ended[0]


async def test_a_store_that_is_there_and_unfit_ends_the_start_with_the_cause(tmp_path, valkey):
    valkey.client.config_set("maxmemory-policy", "allkeys-lru")
    try:
        with pytest.raises(StartFailed, match="Set maxmemory-policy to noeviction"):
            async with open_services(settings_for(tmp_path, valkey.url, []), SimpleNamespace()):
                pass
    finally:
        valkey.client.config_set("maxmemory-policy", "noeviction")
