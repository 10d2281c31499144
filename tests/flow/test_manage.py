from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from gateway.domain.backends import Backend
from gateway.domain.errors import InvalidRequest, StoreUnavailable
from gateway.domain.keys import Grants, Names
from gateway.domain.managed import AuditEntry, EditConflict, KeptBackend, KeptPlan, Key, NameTaken, Tenant, UnknownName
from gateway.domain.plans import Caps, Plan
from gateway.flow.changes import Author
from gateway.flow.credentials import KeyRequest
from tests.flow.management import ALICE, open_office


@pytest.fixture
async def office(tmp_path):
    async with open_office(tmp_path) as opened:
        yield opened


@pytest.fixture
def manager(office):
    return office.manager


async def test_a_new_tenant_is_on_the_standard_plan_and_may_use_everything(manager):
    tenant = await manager.create_tenant(ALICE, "acme")

    assert tenant == Tenant(tenant.id, "acme", "standard", Grants(), 1000.0, 1)
    assert await manager.all_of(Tenant) == [tenant]


async def test_a_new_plan_has_the_defaults_but_for_what_is_given(manager):
    kept = await manager.create_plan(ALICE, "big", {"burst": 100, "steps": 300})

    assert kept.plan == Plan(name="big", burst=100, caps=Caps(steps=300))
    assert await manager.show(KeptPlan, "big") == kept


async def test_a_change_is_told_to_every_process_after_it_is_kept(office, manager):
    seen = []

    async def look():
        seen.append((await manager.show(Tenant, "acme")).plan)

    await manager.create_tenant(ALICE, "acme")
    await manager.create_plan(ALICE, "big", {})
    office.announcer.keys_changed = look

    await manager.change(ALICE, (Tenant, "acme"), {"plan": "big"})

    assert seen == ["big"]


async def test_what_bears_on_no_key_is_not_announced(office, manager):
    await manager.create_tenant(ALICE, "acme")
    await manager.add_backend(ALICE, Backend("gpu-1", "http://h:1"))
    await manager.change(ALICE, (KeptBackend, "gpu-1"), {"url": "http://h:2"})

    assert office.announcer.count == 0


async def test_a_change_that_cannot_be_announced_is_kept_and_says_so(office, manager):
    await manager.create_tenant(ALICE, "acme")
    office.announcer.is_down = True

    with pytest.raises(StoreUnavailable, match="The change is kept"):
        await manager.change(ALICE, (Tenant, "acme"), {"name": "acme corp"})

    assert [tenant.name for tenant in await manager.all_of(Tenant)] == ["acme corp"]


async def test_a_change_based_on_an_older_version_is_a_conflict_and_changes_nothing(office, manager):
    tenant = await manager.create_tenant(ALICE, "acme")
    changed = await manager.change(ALICE, (Tenant, tenant.id), {"name": "first"}, version=1)

    with pytest.raises(EditConflict):
        await manager.change(ALICE, (Tenant, tenant.id), {"name": "second"}, version=1)

    assert await manager.show(Tenant, tenant.id) == changed == replace(tenant, name="first", version=2)
    assert office.announcer.count == 1


async def test_changes_at_once_that_depend_on_what_is_kept_are_all_kept(manager):
    await manager.create_tenant(ALICE, "acme")

    def one_more(before):
        models = before.grants.models
        return {"grants": Grants(models=replace(models, deny=(*models.deny, f"model {before.version}")))}

    await asyncio.gather(*(manager.change(ALICE, (Tenant, "acme"), one_more) for _ in range(50)))

    denied = (await manager.show(Tenant, "acme")).grants.models.deny
    assert denied == tuple(f"model {number}" for number in range(1, 51))


async def test_every_change_stands_in_the_audit_log_without_a_secret(manager):
    bob = Author("bob", 2000.0)
    await manager.add_backend(ALICE, Backend("gpu-1", "http://h:1", "u", "hidden"))
    await manager.change(bob, (KeptBackend, "gpu-1"), {"password": "hidden too", "username": "v"})
    await manager.remove_backend(bob, "gpu-1")

    added = {"url": "http://h:1", "username": "u", "is_managed": True, "name": "gpu-1", "old_options": {}}
    assert await manager.audit() == [
        AuditEntry(2000.0, "bob", "remove", "backend", "gpu-1", {}),
        AuditEntry(2000.0, "bob", "set", "backend", "gpu-1", {"password": "(changed)", "username": "v"}),
        AuditEntry(1000.0, "alice", "create", "backend", "gpu-1", added),
    ]


async def test_a_refused_change_leaves_no_audit_entry(manager):
    await manager.create_tenant(ALICE, "acme")
    before = await manager.audit()

    for refused, changes in [(UnknownName, {"plan": "nowhere"}), (InvalidRequest, {"name": "a/b"})]:
        with pytest.raises(refused):
            await manager.change(ALICE, (Tenant, "acme"), changes)

    assert await manager.audit() == before


@pytest.mark.parametrize(
    ("kind", "ref", "field"), [(Tenant, "acme", "id"), (KeptPlan, "standard", "name"), (Key, "acme/a", "digest")]
)
async def test_what_must_not_be_set_is_refused_with_what_may(manager, kind, ref, field):
    await manager.create_tenant(ALICE, "acme")
    await manager.credentials.create_key(ALICE, KeyRequest("acme", "a"))

    with pytest.raises(InvalidRequest, match="cannot be set; what can be") as caught:
        await manager.change(ALICE, (kind, ref), {field: "x"})

    assert caught.value.field == field


async def test_a_tenant_needs_a_plan_that_exists(manager):
    await manager.create_tenant(ALICE, "acme")

    with pytest.raises(UnknownName) as caught:
        await manager.create_tenant(ALICE, "other", plan="standrd")

    assert caught.value.nearest == ("standard",)
    with pytest.raises(NameTaken):
        await manager.create_tenant(ALICE, "acme")


async def test_the_first_found_options_of_a_backend_are_remembered_until_it_is_removed(manager):
    await manager.add_backend(ALICE, Backend("gpu-1", "http://h:1"))

    await manager.remember_options(ALICE, "gpu-1", {"samples_format": "jpg"})
    await manager.remember_options(ALICE, "gpu-1", {"samples_format": "png", "server_rate_limit": 5})
    await manager.remember_options(ALICE, "gpu-1", {"samples_format": "png"})

    removed = await manager.remove_backend(ALICE, "gpu-1")
    assert (removed.old_options, removed.version) == ({"samples_format": "jpg", "server_rate_limit": 5}, 3)
    assert await manager.all_of(KeptBackend) == []


async def test_a_deployment_has_one_id_for_ever(manager):
    ids = await asyncio.gather(*(manager.deployment_id() for _ in range(5)))

    assert {await manager.deployment_id()} == set(ids)


async def test_a_tenants_grants_bound_those_of_its_keys_from_the_next_look(office, manager):
    await manager.create_tenant(ALICE, "acme")
    issued = await manager.credentials.create_key(ALICE, KeyRequest("acme", "a"))

    await manager.change(ALICE, (Tenant, "acme"), {"grants": Grants(loras=Names(("style*",)))})

    caller = await office.key_store.find_caller(issued.thing.digest)
    assert ("style-1" in caller.grants.loras, "face-1" in caller.grants.loras) == (True, False)


async def test_a_backend_drains_until_it_is_resumed_and_each_is_noted_once(manager):
    await manager.add_backend(ALICE, Backend("gpu-1", "http://h:1"))

    for _ in range(2):
        await manager.drain(ALICE, "gpu-1")
        await manager.drain(ALICE, "declared", {"declared"})
    assert await manager.draining() == {"gpu-1", "declared"}
    for _ in range(2):
        await manager.resume(ALICE, "declared", {"declared"})

    assert await manager.draining() == {"gpu-1"}
    noted = [(entry.who, entry.action, entry.kind, entry.target) for entry in await manager.audit()]
    assert noted[:-1] == [
        ("alice", "resume", "backend", "declared"),
        ("alice", "drain", "backend", "declared"),
        ("alice", "drain", "backend", "gpu-1"),
    ]


async def test_what_is_no_backend_cannot_drain_and_the_nearest_is_named(manager):
    await manager.add_backend(ALICE, Backend("gpu-1", "http://h:1"))

    with pytest.raises(UnknownName, match="Did you mean gpu-2"):
        await manager.drain(ALICE, "gpu2", {"gpu-2"})

    assert await manager.draining() == frozenset()


async def test_a_backend_that_was_removed_while_it_drained_takes_work_when_it_is_added_anew(manager):
    await manager.add_backend(ALICE, Backend("gpu-1", "http://h:1"))
    await manager.drain(ALICE, "gpu-1")

    await manager.remove_backend(ALICE, "gpu-1")
    await manager.add_backend(ALICE, Backend("gpu-1", "http://h:1"))

    assert await manager.draining() == frozenset()
