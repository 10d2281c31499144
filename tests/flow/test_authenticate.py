"""From a credential to the caller."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from gateway.domain.errors import Forbidden, StoreUnavailable, Unauthenticated
from gateway.domain.keys import Caller, digest_of
from gateway.domain.plans import Plan
from gateway.flow.authenticate import CACHE_S, STALE_S, Authenticator, Epoch

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
