"""From a credential to the caller."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace

import pytest

from gateway.domain.errors import (
    Forbidden,
    GatewayError,
    RateLimited,
    StoreUnavailable,
    Unauthenticated,
)
from gateway.domain.keys import Caller, digest_of
from gateway.domain.managed import BoundCaller
from gateway.domain.plans import Plan
from gateway.flow.authenticate import CACHE_S, STALE_S, Authenticator, Epoch, Origin
from gateway.flow.failed_attempts import BURST

pytestmark = pytest.mark.virtual_time

KEY = "sk-" + "a" * 20
CALLER = Caller("k1", "sk-aaaaa", "t1", "Tenant", Plan())


class Keys:
    """A key store that counts how often it is asked, takes a second to answer, and can be away."""

    def __init__(self, caller: Caller | None = CALLER) -> None:
        self.caller, self.asked, self.is_away = caller, 0, False

    async def find_caller(self, digest: str) -> Caller | None:
        assert digest == digest_of(KEY)
        self.asked += 1
        await asyncio.sleep(1)
        if self.is_away:
            raise StoreUnavailable("away")
        return self.caller


def authenticator(keys: Keys, wall: float = 0.0) -> tuple[Authenticator, Epoch]:
    epoch = Epoch()
    epoch.current = "first"
    return Authenticator(keys, epoch, lambda: wall), epoch


async def test_a_known_key_is_looked_up_once_and_then_cached():
    keys = Keys()
    ours, _ = authenticator(keys)
    assert [await ours.authenticate(KEY) for _ in range(3)] == [CALLER] * 3
    assert keys.asked == 1


async def test_a_burst_of_calls_with_one_new_key_is_one_look_up():
    keys = Keys()
    ours, _ = authenticator(keys)
    async with asyncio.TaskGroup() as group:
        calls = [group.create_task(ours.authenticate(KEY)) for _ in range(50)]
    assert [call.result() for call in calls] == [CALLER] * 50
    assert keys.asked == 1


async def test_a_new_epoch_makes_every_key_be_looked_up_anew():
    keys = Keys()
    ours, epoch = authenticator(keys)
    await ours.authenticate(KEY)
    keys.caller, epoch.current = None, "second"
    with pytest.raises(Unauthenticated):
        await ours.authenticate(KEY)


async def test_the_cache_is_short():
    keys = Keys()
    ours, _ = authenticator(keys)
    await ours.authenticate(KEY)
    await asyncio.sleep(CACHE_S + 1)
    await ours.authenticate(KEY)
    assert keys.asked == 2


async def test_an_unknown_key_is_remembered_as_unknown():
    keys = Keys(caller=None)
    ours, _ = authenticator(keys)
    for _ in range(3):
        with pytest.raises(Unauthenticated, match="not known"):
            await ours.authenticate(KEY)
    assert keys.asked == 1


@pytest.mark.parametrize("credential", [None, "", "hunter2", "sk-short"])
async def test_what_cannot_be_a_key_never_reaches_the_database(credential):
    keys = Keys()
    ours, _ = authenticator(keys)
    with pytest.raises(Unauthenticated):
        await ours.authenticate(credential)
    assert keys.asked == 0


async def test_an_expired_key_is_told_that_it_expired():
    ours, _ = authenticator(Keys(replace(CALLER, expires_at=100.0)), wall=100.0)
    with pytest.raises(Forbidden, match="expired"):
        await ours.authenticate(KEY)


async def test_a_revoked_key_is_told_so_to_who_has_the_whole_of_it_and_an_unknown_one_is_not():
    keys = ManyKeys(KEY, caller=bound(is_revoked=True, expires_at=0.0))
    ours, _ = authenticator(keys)
    for _ in range(2 * BURST):
        with pytest.raises(Forbidden, match="revoked"):
            await ours.authenticate(KEY, HERE)
    assert len(keys.looked_up) == 1
    with pytest.raises(Unauthenticated, match="not known"):
        await ours.authenticate(KEY[:-1] + "b", HERE)


async def test_a_key_revoked_while_it_is_cached_is_refused_in_the_new_epoch():
    keys = ManyKeys(KEY)
    ours, epoch = authenticator(keys)
    await ours.authenticate(KEY, HERE)
    keys.caller, epoch.current = bound(is_revoked=True), "second"
    with pytest.raises(Forbidden, match="revoked"):
        await ours.authenticate(KEY, HERE)


async def test_a_key_known_before_works_for_a_while_without_the_database():
    keys = Keys()
    ours, _ = authenticator(keys)
    await ours.authenticate(KEY)
    keys.is_away = True
    await asyncio.sleep(CACHE_S + 1)
    assert await ours.authenticate(KEY) == CALLER
    await asyncio.sleep(STALE_S)
    with pytest.raises(StoreUnavailable):
        await ours.authenticate(KEY)


async def test_after_a_revocation_no_stale_key_works_without_the_database():
    keys = Keys()
    ours, epoch = authenticator(keys)
    await ours.authenticate(KEY)
    keys.is_away, epoch.current = True, "second"
    with pytest.raises(StoreUnavailable):
        await ours.authenticate(KEY)


# --- wrong keys, by address -----------------------------------------------------------------------

HERE, ELSEWHERE = Origin("192.0.2.1"), Origin("192.0.2.2")


class ManyKeys:
    """A key store with these keys that counts what it is asked; every question takes a second."""

    def __init__(self, *valid: str, caller: Caller = CALLER) -> None:
        self.valid, self.caller = {digest_of(key) for key in valid}, caller
        self.looked_up: list[str] = []
        self.listed = 0

    async def find_caller(self, digest: str) -> Caller | None:
        self.looked_up.append(digest)
        await asyncio.sleep(1)
        return self.caller if digest in self.valid else None

    async def find_digests(self) -> frozenset[str]:
        self.listed += 1
        await asyncio.sleep(1)
        return frozenset(self.valid)


def wrong(number: int) -> str:
    return f"sk-wrong-{number:020}"


async def refused_with(ours, credential, origin=HERE):
    """The type of the refusal, None if there is none."""
    try:
        await ours.authenticate(credential, origin)
    except GatewayError as error:
        return type(error)
    return None


async def test_a_burst_of_wrong_keys_is_looked_up_only_as_often_as_an_address_may_fail():
    keys = ManyKeys(KEY)
    ours, _ = authenticator(keys)
    answers = await asyncio.gather(*(refused_with(ours, wrong(number)) for number in range(500)))
    assert Counter(answers) == {Unauthenticated: BURST, RateLimited: 500 - BURST}
    assert (len(keys.looked_up), keys.listed) == (BURST, 1)


@pytest.mark.parametrize("credential", [KEY, "sk-another-valid-key-0123456789"])
async def test_a_valid_key_works_from_an_address_that_sent_thousands_of_wrong_ones(credential):
    keys = ManyKeys(KEY, "sk-another-valid-key-0123456789")
    ours, _ = authenticator(keys)
    await ours.authenticate(KEY, HERE)
    for number in range(200):
        await refused_with(ours, wrong(number))
    assert await ours.authenticate(credential, HERE) == CALLER


async def test_a_key_made_while_its_address_is_limited_works_at_once():
    keys = ManyKeys(KEY)
    ours, epoch = authenticator(keys)
    for number in range(200):
        await refused_with(ours, wrong(number))
    keys.valid.add(digest_of(wrong(7_000)))
    epoch.current = "second"
    assert await ours.authenticate(wrong(7_000), HERE) == CALLER


async def test_a_key_revoked_while_its_address_is_limited_does_not_work():
    keys = ManyKeys(KEY)
    ours, epoch = authenticator(keys)
    for number in range(200):
        await refused_with(ours, wrong(number))
    keys.valid.clear()
    epoch.current = "second"
    assert await refused_with(ours, KEY) is RateLimited


async def test_wrong_keys_from_one_address_do_not_slow_another_address():
    ours, _ = authenticator(ManyKeys(KEY))
    for number in range(200):
        await refused_with(ours, wrong(number))
    assert await refused_with(ours, wrong(300), ELSEWHERE) is Unauthenticated


async def test_a_burst_with_one_valid_key_that_is_new_here_counts_no_failure():
    ours, _ = authenticator(ManyKeys(KEY))
    await asyncio.gather(*(ours.authenticate(KEY, HERE) for _ in range(200)))
    answers = [await refused_with(ours, "hunter2") for _ in range(BURST)]
    assert answers == [Unauthenticated] * BURST


@pytest.mark.parametrize("credential", ["hunter2", wrong(1)])
async def test_the_same_wrong_credential_again_and_again_is_told_to_wait(credential):
    keys = ManyKeys(KEY)
    ours, _ = authenticator(keys)
    answers = {await refused_with(ours, credential) for _ in range(200)}
    assert answers == {Unauthenticated, RateLimited}
    assert len(keys.looked_up) <= 1


async def test_no_credential_at_all_is_never_limited():
    ours, _ = authenticator(ManyKeys(KEY))
    assert {await refused_with(ours, None) for _ in range(200)} == {Unauthenticated}


# --- what a key is bound to -----------------------------------------------------------------------


def bound(**fields):
    return BoundCaller(CALLER.key_id, CALLER.key_prefix, CALLER.tenant_id, CALLER.tenant_name, CALLER.plan, **fields)


async def test_a_key_bound_to_addresses_works_from_those_alone():
    ours, _ = authenticator(ManyKeys(KEY, caller=bound(addresses=("192.0.2.0/31",))))
    assert (await ours.authenticate(KEY, HERE)).key_id == CALLER.key_id
    for origin in (ELSEWHERE, Origin("")):
        with pytest.raises(Forbidden, match="this address"):
            await ours.authenticate(KEY, origin)


async def test_a_key_works_in_a_path_only_where_it_is_allowed_to():
    in_path = Origin("192.0.2.1", is_in_path=True)
    allowed, _ = authenticator(ManyKeys(KEY, caller=bound(allows_path=True)))
    assert (await allowed.authenticate(KEY, in_path)).key_id == CALLER.key_id
    for caller in (bound(), CALLER):
        ours, _ = authenticator(ManyKeys(KEY, caller=caller))
        with pytest.raises(Forbidden, match="path"):
            await ours.authenticate(KEY, in_path)
