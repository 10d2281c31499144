"""What a call costs, counted and not timed: scripts, commands, statements, tasks. `make bench` has the times.

Each guard says how it was seen failing.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from gateway.adapters.redis.scripts import NAMES, load_script
from gateway.flow.examine import grey_png
from tests.speed.conftest import sql_statements, tasks_created

pytestmark = pytest.mark.hand_set_time
CALLS = 5
PICTURE_BYTES = grey_png(256)
PICTURE = base64.b64encode(PICTURE_BYTES).decode()
# What runs whether or not anybody calls and was under way when time stopped, and the ledger's writer that follows calls
# in batches.
BACKGROUND = {"heartbeat", "poll", "publish", "grant", "hold", "resign", "BLPOP", "XRANGE", "XDEL", "HLEN", "EVAL"}
BACKGROUND |= {"HELLO", "CLIENT", "SELECT", "PING", "READONLY", "AUTH", "MULTI", "EXEC"}
SCRIPTS = {load_script(name).sha: name for name in NAMES}
LISTS = ("sd-models", "samplers", "upscalers", "cmd-flags")


class Commands:
    """Commands that clients sent (scripts by name), and how many each script sent itself."""

    def __init__(self) -> None:
        self.sent: Counter[str] = Counter()
        self.inside: Counter[str] = Counter()

    @property
    def of_calls(self) -> dict[str, int]:
        """Those that are not the background's."""
        return {name: count for name, count in self.sent.items() if name not in BACKGROUND}


@contextmanager
def time_stands_still() -> Iterator[None]:
    """However slow the machine is, nothing that runs once a second runs within the block, and no cache runs out."""
    asyncio.get_running_loop().stop_clock()
    try:
        yield
    finally:
        asyncio.get_running_loop().let_run()


@contextmanager
def commands(valkey) -> Iterator[Commands]:
    """Everything the server is sent within the block, in which time stands still, as its own MONITOR tells."""
    seen, end = Commands(), "the end of the block"
    with time_stands_still(), valkey.client.monitor() as monitor:
        yield seen
        valkey.client.echo(end)
        script = ""
        for entry in monitor.listen():
            word, *arguments = entry["command"].split(" ")
            if entry["client_type"] == "lua":
                seen.inside[script] += 1
            elif word.upper() == "ECHO":
                return
            else:
                script = SCRIPTS.get(arguments[0], arguments[0]) if word.upper() == "EVALSHA" else word.upper()
                seen.sent[script] += 1


async def test_a_call_is_one_script_in_and_one_script_out(here, valkey):
    """Seen failing with `await self.epoch()` added to `RedisJobs.enter`, and with `Exit.leave` sending twice."""
    with commands(valkey) as seen:
        for _ in range(CALLS):
            await here.generate()
    assert seen.of_calls == {"enter": CALLS, "leave": CALLS}


async def test_a_good_call_never_hashes_its_picture(here, monkeypatch):
    """Seen failing with `fingerprint_of` in `Job.__init__`."""
    hashed, real = [], hashlib.sha256

    class Watched:
        def __init__(self, data: bytes = b"", **more: Any) -> None:
            self._digest = real(data, **more)
            hashed.append(len(data))

        def update(self, data: bytes) -> None:
            self._digest.update(data)
            hashed.append(len(data))

        def __getattr__(self, name: str) -> Any:
            return getattr(self._digest, name)

    monkeypatch.setattr(hashlib, "sha256", Watched)
    for _ in range(CALLS):
        await here.generate(init_images=[PICTURE])
    assert max(hashed, default=0) < len(PICTURE_BYTES)


async def test_the_two_scripts_of_a_call_are_short(here, valkey):
    """Commands inside the scripts are what one shard spends. Seen failing with a bound of 10; 28 and 17
    are what they need."""
    with commands(valkey) as seen:
        for _ in range(CALLS):
            await here.generate()
    assert seen.inside["enter"] <= 28 * CALLS
    assert seen.inside["leave"] <= 18 * CALLS


async def test_a_known_key_costs_no_statement(here):
    """Seen failing with `CACHE_S` = 0.0. The ledger's writer, in batches behind the calls, is not theirs."""
    with time_stands_still(), sql_statements() as seen:
        for _ in range(CALLS):
            await here.generate()
            for name in LISTS:
                assert (await here.call("GET", f"/sdapi/v1/{name}")).status == 200
    assert [statement for statement in seen if " keys" in statement or "tenants" in statement] == []


async def test_a_list_touches_no_store_and_makes_no_task(here, valkey):
    """Seen failing with `await self._gateway.jobs.epoch()` added to `ListingRoutes`."""
    with commands(valkey) as seen, tasks_created(asyncio.current_task) as tasks:
        for name in LISTS:
            assert (await here.call("GET", f"/sdapi/v1/{name}")).status == 200
    assert (seen.of_calls, tasks) == ({}, [])


async def test_options_and_progress_cost_one_trip_to_the_store_and_none_to_a_backend(here, valkey):
    """Seen failing with a second `await self.kept(caller)` in `OwnOptions.view`."""
    with commands(valkey) as seen:
        assert (await here.call("GET", "/sdapi/v1/options")).status == 200
    assert seen.of_calls == {"GET": 1, "HGETALL": 1}
    with commands(valkey) as seen:
        assert (await here.call("GET", "/sdapi/v1/progress")).status == 200
    assert seen.of_calls == {"look": 1}


async def test_a_call_makes_no_more_than_three_tasks_of_its_own_and_three_of_libraries(here):
    """One watches for the caller's leaving, one posts, one leaves. aiohttp needs one to write, redis-py before
    Python 3.12 one for each script.

    Seen failing with a further task in `Entrance.enter`, and with the bounds one lower.
    """
    with tasks_created(asyncio.current_task) as seen:
        for _ in range(CALLS):
            await here.generate()
    ours = [name for name in seen if not name.startswith(("AbstractConnection.", "ClientRequest."))]
    assert len(ours) <= 3 * CALLS, Counter(ours)
    assert len(seen) <= 6 * CALLS, Counter(seen)
