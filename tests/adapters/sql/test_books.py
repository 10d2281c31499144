from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from gateway.domain.backends import Backend
from gateway.domain.managed import (
    AdminToken,
    AuditEntry,
    EditConflict,
    KeptBackend,
    KeptPlan,
    Key,
    NameTaken,
    Speed,
    SpeedOf,
    Tenant,
)
from gateway.domain.plans import Plan
from tests.contracts.sql.builders import ACME, KEY, another_key, keep, the

GPU = KeptBackend(Backend("gpu-1", "http://gpu-1:7860", "user", "hidden"), {"samples_format": "jpg"}, 5.0)
TOKEN = AdminToken("a_1", "ops", "digest", "ga-12345")
THINGS = [KeptPlan(Plan(name="big")), ACME, KEY, GPU, TOKEN]


@pytest.mark.parametrize("thing", THINGS, ids=lambda thing: type(thing).__name__)
async def test_what_is_added_is_found_by_its_id(bookkeeper, thing):
    await keep(bookkeeper, *([ACME, KEY] if thing == KEY else [thing]))

    assert await the(bookkeeper, thing) == thing


@pytest.mark.parametrize("thing", THINGS, ids=lambda thing: type(thing).__name__)
async def test_a_second_one_of_the_same_name_is_refused(bookkeeper, thing):
    await keep(bookkeeper, *([ACME, KEY] if thing == KEY else [thing]))

    with pytest.raises(NameTaken):
        await keep(bookkeeper, thing)


@pytest.mark.parametrize("thing", THINGS, ids=lambda thing: type(thing).__name__)
async def test_saving_or_removing_what_somebody_else_changed_is_a_conflict(bookkeeper, thing):
    await keep(bookkeeper, *([ACME, KEY] if thing == KEY else [thing]))
    async with bookkeeper.writing() as books:
        saved = await books.save(thing)

    assert saved == replace(thing, version=2) == await the(bookkeeper, thing)
    for change in ("save", "remove"):
        with pytest.raises(EditConflict):
            async with bookkeeper.writing() as books:
                await getattr(books, change)(thing)
    assert await the(bookkeeper, thing) == saved


async def test_what_is_removed_is_gone(bookkeeper):
    await keep(bookkeeper, GPU)

    async with bookkeeper.writing() as books:
        await books.remove(GPU)
        assert await books.find(KeptBackend, "gpu-1") == []


@pytest.mark.parametrize("ref", ["k_first", "acme/first", "t_acme/first", KEY.prefix])
async def test_a_key_is_found_by_its_id_its_prefix_or_the_names_of_tenant_and_key(bookkeeper, ref):
    await keep(bookkeeper, ACME, KEY)

    async with bookkeeper.reading() as books:
        assert await books.find(Key, ref) == [KEY]


async def test_a_prefix_that_two_keys_share_means_both(bookkeeper):
    twin = replace(another_key(2), prefix=KEY.prefix)
    await keep(bookkeeper, ACME, KEY, twin)

    async with bookkeeper.reading() as books:
        assert sorted(key.id for key in await books.find(Key, KEY.prefix)) == ["k_2", "k_first"]


async def test_lists_are_by_name_and_a_tenants_keys_are_its_own(bookkeeper):
    zeta = Tenant("t_1", "zeta")
    own = [replace(another_key(2), name="b"), replace(another_key(1), name="a")]
    await keep(bookkeeper, zeta, ACME, *own, replace(another_key(3), tenant_id=zeta.id))

    async with bookkeeper.reading() as books:
        assert await books.all(Tenant) == [ACME, zeta]
        assert await books.keys_of(ACME.id) == [own[1], own[0]]


async def test_two_tenants_may_have_keys_of_the_same_name(bookkeeper):
    zeta = Tenant("t_1", "zeta")
    await keep(bookkeeper, ACME, zeta, KEY, replace(another_key(2), tenant_id=zeta.id, name=KEY.name))

    async with bookkeeper.reading() as books:
        assert [key.id for key in await books.find(Key, "zeta/first")] == ["k_2"]


async def test_a_rename_to_a_name_in_use_is_refused(bookkeeper):
    await keep(bookkeeper, ACME, Tenant("t_1", "zeta"))

    with pytest.raises(NameTaken):
        async with bookkeeper.writing() as books:
            await books.save(replace(ACME, name="zeta"))


async def test_the_audit_log_keeps_the_order_and_answers_the_newest_first(bookkeeper):
    entries = [AuditEntry(5.0, "cli", "set", "tenant", f"tenant {n}", {"plan": "big"}) for n in range(3)]
    async with bookkeeper.writing() as books:
        for entry in entries:
            await books.note(entry)

    async with bookkeeper.reading() as books:
        assert await books.audit(2) == [entries[2], entries[1]]


async def test_a_secret_is_known_whether_it_is_current_replaced_or_revoked(bookkeeper):
    await keep(bookkeeper, ACME, replace(KEY, digest="now", old_digest="before", revoked_at=1.0))

    async with bookkeeper.reading() as books:
        assert [await books.is_secret_known(digest) for digest in ("now", "before", "never")] == [True, True, False]


async def test_of_many_claims_at_once_one_value_is_kept_and_everyone_is_told_it(bookkeeper):
    async def claim(number):
        async with bookkeeper.writing() as books:
            return await books.claim("deployment_id", f"value {number}")

    answers = await asyncio.gather(*(claim(number) for number in range(8)))

    assert len(set(answers)) == 1


async def test_claims_are_found_by_how_their_names_begin_and_can_be_released(bookkeeper):
    async with bookkeeper.writing() as books:
        for name in ("draining:a%b", "draining:_", "drainingX", "other"):
            await books.claim(name, f"by {name}")
    async with bookkeeper.writing() as books:
        assert await books.claimed("draining:") == {"draining:a%b": "by draining:a%b", "draining:_": "by draining:_"}
        assert await books.claimed("draining:_") == {"draining:_": "by draining:_"}
        assert [await books.release(name) for name in ("draining:_", "draining:_", "draining:%")] == [
            True,
            False,
            False,
        ]

    async with bookkeeper.reading() as books:
        assert set(await books.claimed("draining:")) == {"draining:a%b"}


async def test_learned_speeds_are_kept_and_replaced(bookkeeper):
    slow = Speed("gpu-1", SpeedOf.CHECKPOINT, "aurora", 2.5)
    other = Speed("gpu-1", SpeedOf.UPSCALER, "aurora", 9.0)
    fast = replace(slow, seconds=1.25)

    await bookkeeper.save_speeds([slow, other], now=1.0)
    await bookkeeper.save_speeds([fast], now=2.0)
    await bookkeeper.save_speeds([], now=3.0)

    assert sorted(await bookkeeper.load_speeds(), key=lambda speed: speed.of) == [fast, other]


async def test_speeds_saved_from_many_sides_in_any_order_do_not_block_each_other(bookkeeper):
    speeds = [Speed("gpu-1", SpeedOf.SWAP, f"model {number}", 1.0) for number in range(30)]

    await asyncio.gather(*(bookkeeper.save_speeds(speeds[:: (-1) ** n], now=1.0) for n in range(8)))

    assert len(await bookkeeper.load_speeds()) == 30
