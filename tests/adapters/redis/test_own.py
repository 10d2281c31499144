"""What is one key's own in Redis: what the contract leaves open."""

from __future__ import annotations

import pytest

from gateway.adapters.redis.connection import Connection
from gateway.adapters.redis.own import RedisOwn
from gateway.domain.errors import StoreUnavailable
from gateway.ports import Look, OptionChange
from tests.support.keys import keys_without_ttl
from tests.support.ports import free_port


async def test_options_end_some_day_and_names_and_values_of_any_letters_come_back(valkey):
    connection = Connection(valkey.url, "own")
    own = RedisOwn(connection, "one")
    odd = {"größe": "猫 \n\0", "n": None, "b": True, "f": 1.5, "l": [1, {"a": "x"}]}
    await own.change_options("k", OptionChange(odd, {}))
    assert (await own.options("k")).values == odd
    assert keys_without_ttl(valkey.client) == []
    await connection.close()


async def test_a_store_that_is_away_is_told_as_such():
    connection = Connection(f"redis://127.0.0.1:{free_port()}", "own")
    own = RedisOwn(connection, "one")
    for ask in (own.options("k"), own.look_at(Look("k")), own.change_options("k", OptionChange({"a": 1}, {}))):
        with pytest.raises(StoreUnavailable):
            await ask
    await connection.close()
