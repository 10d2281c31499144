"""What a start makes sure of in the database, however many processes start at once."""

from __future__ import annotations

import asyncio
import secrets
from contextlib import asynccontextmanager

from gateway.domain.keys import Names, digest_of
from gateway.domain.managed import KeptPlan, Key, Tenant
from gateway.flow.changes import Author
from gateway.flow.seed import DEMO_LIMITS, DEMO_PLAN, DemoKeys, first_run, seed_demo
from gateway.settings import Settings
from gateway.wiring.desk import migrate_schema, open_management

AUTHOR = Author("start", 1_700_000_000.0)
KEYS = DemoKeys("sk-demo-one-0123456789", "sk-demo-two-0123456789", "red")


@asynccontextmanager
async def managers(folder, count=1):
    """That many processes' view of one database."""
    settings = Settings(data_dir=folder, alone=True)
    await migrate_schema(settings)
    async with open_management(settings) as first:
        yield [
            first,
            *[type(first)(first._bookkeeper, first._usage_books, first._announcer, secrets.token_bytes)] * (count - 1),
        ]


async def test_the_demo_has_two_tenants_one_with_room_and_one_with_a_single_model(tmp_path):
    async with managers(tmp_path) as (manager,):
        await seed_demo(manager, AUTHOR, KEYS)
        assert [(tenant.name, tenant.plan) for tenant in await manager.all_of(Tenant)] == [
            ("demo", DEMO_PLAN),
            ("demo-2", "standard"),
        ]
        plan = await manager.show(KeptPlan, DEMO_PLAN)
        assert {name: getattr(plan.plan, name) for name in DEMO_LIMITS} == DEMO_LIMITS
        first, second = await manager.show(Key, "demo/demo"), await manager.show(Key, "demo-2/demo")
        assert (first.digest, second.digest) == (digest_of(KEYS.first), digest_of(KEYS.second))
        assert (first.grants.models, second.grants.models) == (Names(), Names(("red",)))


async def test_seeding_the_demo_again_changes_nothing(tmp_path):
    async with managers(tmp_path) as (manager,):
        await seed_demo(manager, AUTHOR, KEYS)
        before = await manager.all_of(Key), await manager.all_of(Tenant), len(await manager.audit())
        await seed_demo(manager, AUTHOR, KEYS)
        assert (await manager.all_of(Key), await manager.all_of(Tenant), len(await manager.audit())) == before


async def test_processes_that_start_at_once_seed_one_demo(tmp_path):
    async with managers(tmp_path, 4) as several:
        await asyncio.gather(*(seed_demo(manager, AUTHOR, KEYS) for manager in several))
        assert [tenant.name for tenant in await several[0].all_of(Tenant)] == ["demo", "demo-2"]
        assert len(await several[0].all_of(Key)) == 2


async def test_without_a_second_model_the_second_tenant_may_use_none(tmp_path):
    async with managers(tmp_path) as (manager,):
        await seed_demo(manager, AUTHOR, DemoKeys(KEYS.first, KEYS.second, ""))
        assert (await manager.show(Key, "demo-2/demo")).grants.models == Names(())


async def test_of_processes_that_start_at_once_one_gets_the_first_credentials(tmp_path):
    async with managers(tmp_path, 4) as several:
        found = await asyncio.gather(*(first_run(manager, AUTHOR, "", "") for manager in several))
        (first,) = [one for one in found if one is not None]
        assert first.key.startswith("sk-")
        assert await first_run(several[0], AUTHOR, "", "") is None


def test_the_demos_keys_are_not_shown_in_a_trace():
    assert "sk-" not in repr(KEYS)
