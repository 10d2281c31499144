from __future__ import annotations

import asyncio
import secrets
from dataclasses import replace

import pytest

from gateway.domain.errors import InvalidRequest
from gateway.domain.keys import Grants, Names, digest_of, has_key_form
from gateway.domain.managed import AdminToken, Key, Role, Tenant
from gateway.flow.changes import Author
from gateway.flow.credentials import Credentials, KeyRequest
from tests.flow.management import ALICE, open_office

OWN = "sk-a-secret-of-ones-own-1"


@pytest.fixture
async def office(tmp_path):
    async with open_office(tmp_path) as opened:
        await opened.manager.create_tenant(ALICE, "acme")
        yield opened


@pytest.fixture
async def empty_office(tmp_path):
    async with open_office(tmp_path) as opened:
        yield opened


async def expiry_of(office, secret):
    """When the caller with that secret expires; "nobody" if there is none."""
    caller = await office.key_store.find_caller(digest_of(secret))
    return "nobody" if caller is None else caller.expires_at


async def test_a_minted_secret_opens_its_key_and_has_192_random_bits(office):
    asked = []

    def random_bytes(count):
        asked.append(count)
        return secrets.token_bytes(count)

    credentials = Credentials(office.bookkeeper, office.announcer, random_bytes)

    issued = await credentials.create_key(ALICE, KeyRequest("acme", "a"))

    assert max(asked) * 8 == 192
    assert has_key_form(issued.secret)
    assert (await office.key_store.find_caller(digest_of(issued.secret))).key_id == issued.thing.id
    assert issued.secret not in repr(issued)


async def test_a_key_is_answered_even_if_nobody_could_be_told_of_it(office):
    office.announcer.is_down = True

    issued = await office.credentials.create_key(ALICE, KeyRequest("acme", "a"))
    rotated = await office.credentials.rotate_key(ALICE, "acme/a", 10.0)

    assert (issued.is_announced, rotated.is_announced) == (False, False)
    assert await expiry_of(office, rotated.secret) is None


@pytest.mark.parametrize(("overlap_s", "old"), [(0.0, "nobody"), (60.0, 1060.0)])
async def test_after_a_rotation_the_secret_before_opens_the_key_for_the_overlap(office, overlap_s, old):
    issued = await office.credentials.create_key(ALICE, KeyRequest("acme", "a"))
    before = office.announcer.count

    rotated = await office.credentials.rotate_key(ALICE, "acme/a", overlap_s)

    assert rotated.thing.id == issued.thing.id
    assert await expiry_of(office, rotated.secret) is None
    assert await expiry_of(office, issued.secret) == old
    assert office.announcer.count == before + 1


async def test_of_two_rotations_the_oldest_secret_ends_at_once(office):
    first = await office.credentials.create_key(ALICE, KeyRequest("acme", "a"))
    second = await office.credentials.rotate_key(ALICE, "acme/a", 60.0)
    third = await office.credentials.rotate_key(Author("alice", 1010.0), "acme/a", 60.0)

    assert [await expiry_of(office, issued.secret) for issued in (first, second, third)] == ["nobody", 1070.0, None]


@pytest.mark.parametrize("overlap_s", [-1.0, float("nan"), float("inf")])
async def test_an_overlap_that_is_no_time_is_refused(office, overlap_s):
    await office.credentials.create_key(ALICE, KeyRequest("acme", "a"))

    with pytest.raises(InvalidRequest, match="0 seconds or more"):
        await office.credentials.rotate_key(ALICE, "acme/a", overlap_s)


async def test_an_expired_key_cannot_be_rotated(office):
    await office.credentials.create_key(ALICE, KeyRequest("acme", "a", expires_at=1500.0))

    with pytest.raises(InvalidRequest, match="has expired"):
        await office.credentials.rotate_key(Author("alice", 1500.0), "acme/a", 60.0)


async def test_revoking_ends_both_secrets_and_is_announced_again_when_repeated(office):
    issued = await office.credentials.create_key(ALICE, KeyRequest("acme", "a"))
    rotated = await office.credentials.rotate_key(ALICE, "acme/a", 60.0)
    before = office.announcer.count

    revoked = [await office.credentials.revoke_key(ALICE, "acme/a") for _ in range(2)]

    assert revoked == [replace(rotated.thing, revoked_at=1000.0, version=3)] * 2
    for secret in (issued.secret, rotated.secret):
        assert (await office.key_store.find_caller(digest_of(secret))).is_revoked
    assert await office.key_store.find_digests() == frozenset()
    assert office.announcer.count == before + 2


async def test_a_secret_that_any_key_ever_had_cannot_be_given_to_another(office):
    await office.credentials.create_key(ALICE, KeyRequest("acme", "a", secret=OWN))
    await office.credentials.rotate_key(ALICE, "acme/a", 60.0)

    with pytest.raises(InvalidRequest, match="belongs to a key already"):
        await office.credentials.create_key(ALICE, KeyRequest("acme", "b", secret=OWN))


async def test_a_prefix_shared_by_two_keys_is_refused_with_their_ids(office):
    made = [
        await office.credentials.create_key(ALICE, KeyRequest("acme", name, secret=f"sk-same-prefix-secret-{name}"))
        for name in "ab"
    ]

    with pytest.raises(InvalidRequest, match="can mean 2 keys") as caught:
        await office.credentials.revoke_key(ALICE, "sk-same-")

    assert all(issued.thing.id in str(caught.value) for issued in made)


async def test_an_admin_token_is_made_found_and_revoked(office):
    issued = await office.credentials.create_token(ALICE, "ops", Role.VIEWER)

    assert await office.key_store.find_admin(digest_of(issued.secret)) == issued.thing
    assert issued.thing.role is Role.VIEWER
    await office.credentials.revoke_token(ALICE, "ops")
    assert await office.key_store.find_admin(digest_of(issued.secret)) is None


async def test_an_empty_database_gets_one_tenant_one_key_and_one_admin_token(empty_office):
    office = empty_office

    first = await office.credentials.first_run(ALICE)

    assert await office.manager.all_of(Tenant) == [first.tenant]
    assert (await office.key_store.find_caller(digest_of(first.key))).tenant_id == first.tenant.id
    assert (await office.key_store.find_admin(digest_of(first.admin_token))).role is Role.ADMIN
    assert first.key not in repr(first)
    assert first.admin_token not in repr(first)


async def test_of_several_processes_that_start_on_an_empty_database_one_prints_the_credentials(empty_office):
    answers = await asyncio.gather(*(empty_office.credentials.first_run(ALICE) for _ in range(6)))

    assert sum(answer is not None for answer in answers) == 1
    assert len(await empty_office.manager.all_of(Key)) == 1
    assert len(await empty_office.manager.all_of(AdminToken)) == 1


async def test_given_first_credentials_are_the_ones_that_work(empty_office):
    given = "a-token-of-the-operator"

    await empty_office.credentials.first_run(ALICE, admin_token=given, key=OWN)

    assert await expiry_of(empty_office, OWN) is None
    assert (await empty_office.key_store.find_admin(digest_of(given))).name == "first"


async def test_a_database_that_had_its_first_start_is_left_alone(empty_office):
    await empty_office.credentials.first_run(ALICE)
    assert await empty_office.credentials.first_run(ALICE, key=OWN) is None
    assert await expiry_of(empty_office, OWN) == "nobody"


async def test_commands_typed_before_the_first_start_do_not_swallow_its_first_credentials(empty_office):
    office = empty_office
    await office.manager.create_tenant(ALICE, "default")
    await office.credentials.create_key(ALICE, KeyRequest("default", "first"))

    first = await office.credentials.first_run(ALICE)

    assert first.tenant.name == "default-2"
    assert (await office.key_store.find_caller(digest_of(first.key))).tenant_id == first.tenant.id
    assert (await office.key_store.find_admin(digest_of(first.admin_token))).role is Role.ADMIN


async def test_a_first_key_that_a_command_made_already_stays_whose_it_is(empty_office):
    office = empty_office
    tenant = await office.manager.create_tenant(ALICE, "acme")
    await office.credentials.create_key(ALICE, KeyRequest("acme", "laptop", secret=OWN))

    first = await office.credentials.first_run(ALICE, key=OWN)

    assert await office.manager.all_of(Tenant) == [tenant]
    assert (await office.key_store.find_admin(digest_of(first.admin_token))).name == "first"


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"key": "sk-short"}, "A key must be"),
        ({"key": "not-a-key-at-all-not-a-key"}, "A key must be"),
        ({"admin_token": "short"}, "An admin token must be"),
        ({"admin_token": OWN, "key": OWN}, "must not be the key"),
    ],
)
async def test_first_credentials_that_could_not_be_used_are_refused_whatever_the_database_holds(
    office, given, sentence
):
    with pytest.raises(InvalidRequest, match=sentence):
        await office.credentials.first_run(ALICE, **given)


async def test_a_key_that_a_configuration_names_is_made_once_however_often_it_is_asked_for(empty_office):
    office = empty_office
    request = KeyRequest("demo", "demo", secret=OWN, grants=Grants(models=Names(("aurora",))))

    keys = await asyncio.gather(*(office.credentials.ensure_key(ALICE, request) for _ in range(5)))

    assert keys == [keys[0]] * 5
    assert await office.manager.all_of(Key) == [keys[0]]
    assert (keys[0].grants, keys[0].version) == (request.grants, 1)
    assert [tenant.name for tenant in await office.manager.all_of(Tenant)] == ["demo"]


async def test_a_configured_key_with_another_secret_replaces_the_one_before(empty_office):
    office = empty_office
    kept = await office.credentials.ensure_key(ALICE, KeyRequest("demo", "demo", secret=OWN))

    again = await office.credentials.ensure_key(ALICE, KeyRequest("demo", "demo", secret=OWN + "-new"))

    assert again.id == kept.id
    assert [await expiry_of(office, secret) for secret in (OWN, OWN + "-new")] == ["nobody", None]


async def test_a_configured_key_needs_its_secret(office):
    with pytest.raises(InvalidRequest, match="A key must be"):
        await office.credentials.ensure_key(ALICE, KeyRequest("demo", "demo"))
