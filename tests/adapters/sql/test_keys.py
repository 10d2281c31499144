from __future__ import annotations

from dataclasses import replace

import pytest

from gateway.domain.keys import Grants, Names, digest_of
from gateway.domain.managed import AdminToken, BoundCaller, KeptPlan, Narrowed, Role
from gateway.domain.overrides import Overrides
from gateway.domain.plans import Caps, Plan
from tests.contracts.sql.builders import ACME, KEY, SECRET, another_key, keep, statements_on

OVERRIDES = Overrides(force={"steps": 20}, forbid=frozenset({"script_name"}), maximum={"width": 1024})
SMALL = Plan(name="small", requests_per_minute=6.5, images_per_day=10, caps=Caps(steps=30))


async def test_a_caller_is_found_with_all_that_follows_from_the_key(bookkeeper, key_store):
    tenant = replace(ACME, plan="small", grants=Grants(loras=Names(("style-*",))))
    key = replace(
        KEY,
        grants=Grants(models=Names(("sdxl*",), ("*nsfw*",))),
        overrides=OVERRIDES,
        default_model="sdxl-base",
        expires_at=5000.5,
        addresses=("192.0.2.0/24",),
        allows_path=True,
    )
    await keep(bookkeeper, KeptPlan(SMALL), tenant, key, another_key(2))

    assert await key_store.find_caller(digest_of(SECRET)) == BoundCaller(
        key_id=KEY.id,
        key_prefix=KEY.prefix,
        tenant_id=ACME.id,
        tenant_name="acme",
        plan=SMALL,
        grants=Grants(models=Names(("sdxl*",), ("*nsfw*",)), loras=Narrowed(("*",), (), Names(("style-*",)))),
        overrides=OVERRIDES,
        default_model="sdxl-base",
        expires_at=5000.5,
        addresses=("192.0.2.0/24",),
        allows_path=True,
    )


async def test_a_name_must_be_granted_to_the_tenant_and_to_the_key(bookkeeper, key_store):
    tenant = replace(ACME, grants=Grants(models=Names(("sdxl*", "flux*"), ("*private*",))))
    await keep(bookkeeper, tenant, replace(KEY, grants=Grants(models=Names(("sdxl*", "aurora"), ("*beta*",)))))

    granted = (await key_store.find_caller(digest_of(SECRET))).grants.models

    offered = ["SDXL-base", "flux-1", "aurora", "sdxl-private", "sdxl-beta"]
    assert [name for name in offered if name in granted] == ["SDXL-base"]


async def test_finding_a_caller_is_one_statement(database, bookkeeper, key_store):
    await keep(bookkeeper, ACME, KEY)

    with statements_on(database) as statements:
        await key_store.find_caller(digest_of(SECRET))

    assert len(statements) == 1


async def test_a_revoked_key_is_known_as_such_and_an_unknown_one_is_nobody(bookkeeper, key_store):
    await keep(bookkeeper, ACME, replace(KEY, revoked_at=200.0))

    assert (await key_store.find_caller(digest_of(SECRET))).is_revoked
    assert await key_store.find_caller(digest_of("sk-nobody-has-this-one")) is None


@pytest.mark.parametrize(("expires_at", "old_expires_at"), [(None, 300.0), (250.0, 250.0), (400.0, 300.0)])
async def test_a_replaced_secret_opens_the_same_key_until_its_overlap_or_the_key_ends(
    bookkeeper, key_store, expires_at, old_expires_at
):
    old = digest_of("sk-the-secret-before-it")
    rotated = replace(KEY, old_digest=old, old_prefix="sk-the-s", old_valid_until=300.0, expires_at=expires_at)
    await keep(bookkeeper, ACME, rotated)

    before = await key_store.find_caller(old)
    now = await key_store.find_caller(digest_of(SECRET))

    assert (before.key_id, before.key_prefix, before.expires_at) == (KEY.id, "sk-the-s", old_expires_at)
    assert (now.key_id, now.key_prefix, now.expires_at) == (KEY.id, KEY.prefix, expires_at)


async def test_an_admin_token_is_found_until_it_is_revoked(bookkeeper, key_store):
    token = AdminToken("a_1", "ops", digest_of("ga-1"), "ga-1", Role.VIEWER, created_at=1.0)
    gone = AdminToken("a_2", "old", digest_of("ga-2"), "ga-2", revoked_at=2.0)
    await keep(bookkeeper, token, gone)

    assert await key_store.find_admin(digest_of("ga-1")) == token
    assert await key_store.find_admin(digest_of("ga-2")) is None
    assert await key_store.find_admin(digest_of(SECRET)) is None


async def test_a_tenants_key_is_no_admin_token(bookkeeper, key_store):
    await keep(bookkeeper, ACME, KEY)

    assert await key_store.find_admin(digest_of(SECRET)) is None


async def test_the_digests_are_those_of_all_keys_that_work_and_of_secrets_still_in_rotation(bookkeeper, key_store):
    old = digest_of("sk-before-the-rotation")
    revoked = replace(another_key(2), revoked_at=1.0)
    await keep(bookkeeper, ACME, replace(KEY, old_digest=old, old_prefix="sk-befor", old_valid_until=9e9), revoked)

    assert await key_store.find_digests() == {KEY.digest, old}
