from __future__ import annotations

import pytest

from gateway.domain.managed import KeptPlan, Tenant, UnknownName
from gateway.flow.changes import new_id, the
from tests.flow.management import ALICE, open_office


@pytest.fixture
async def office(tmp_path):
    async with open_office(tmp_path) as opened:
        for name in ("acme", "acme-eu", "zeta"):
            await opened.manager.create_tenant(ALICE, name)
        yield opened


@pytest.mark.parametrize(
    ("ref", "nearest"),
    [("acmee", ("acme", "acme-eu")), ("zetta", ("zeta",)), ("xyz", ()), ("", ()), ("a\0", ()), ("\ud800", ())],
)
async def test_a_name_that_nobody_has_is_answered_with_the_two_nearest_at_most(office, ref, nearest):
    async with office.bookkeeper.reading() as books:
        with pytest.raises(UnknownName) as caught:
            await the(books, Tenant, ref)

    assert caught.value.nearest == nearest
    assert all(name in str(caught.value) for name in nearest)


async def test_the_one_that_is_meant_is_found_by_name_and_by_id(office):
    async with office.bookkeeper.reading() as books:
        found = await the(books, Tenant, "zeta")
        assert await the(books, Tenant, found.id) == found
        assert (await the(books, KeptPlan, "standard")).name == "standard"


def test_an_id_says_its_kind_and_holds_72_random_bits():
    assert new_id("k", lambda count: bytes(range(count))) == "k_000102030405060708"
