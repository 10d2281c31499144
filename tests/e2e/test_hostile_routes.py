"""Whatever is sent to any route in whatever way, no caller sees a 5xx, and no backend hears what the table forbids."""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter

import aiohttp
import httpx2
from yarl import URL

from gateway.api.refused import REFUSED
from tests.support.hostile import CAPTIONERS, WORK, hostile_call, problems_of
from tests.support.patience import PATIENCE_S

KEY = "sk-hostile-0123456789abcdefghij"
LIMITS = {"requests_per_minute": 1_000_000, "burst": 1_000_000, "max_queued": 2000, "max_concurrency": 8}
AT_ONCE = 16
SERVER_ERROR = 500
OWN = {"outdir_samples", "no_such_dir", "forge_preset"}


def served_by(gateway):
    """Method and path of all that the gateway says it serves."""
    described = httpx2.get(f"http://127.0.0.1:{gateway.port}/openapi.json").json()
    return [(method.upper(), path) for path, methods in described["paths"].items() for method in methods]


async def send_all(pool, calls):
    """The statuses of all answers by method and path as sent, and the answers that are 5xx or cannot be read."""
    waiting, statuses, failures = list(calls), Counter(), []
    options = {"headers": {"Authorization": f"Bearer {KEY}"}, "timeout": aiohttp.ClientTimeout(total=PATIENCE_S)}
    origin = f"http://127.0.0.1:{pool.gateway.port}"
    async with aiohttp.ClientSession(**options) as session:

        async def work():
            while waiting:
                call = waiting.pop()
                url = URL(origin + call.target, encoded=True)
                async with session.request(call.method, url, data=call.body, headers=call.headers) as answer:
                    reply = await answer.read()
                    statuses[answer.status] += 1
                    is_json = answer.content_type == "application/json" and call.method not in {"HEAD", "OPTIONS"}
                    if answer.status >= SERVER_ERROR or (is_json and not _is_json(reply)):
                        failures.append((call, reply[:500]))

        await asyncio.gather(*(work() for _ in range(AT_ONCE)))
        async with session.get(f"{origin}/sdapi/v1/options") as answer:
            return statuses, failures, await answer.text()


def _is_json(reply):
    try:
        json.loads(reply)
    except ValueError:
        return False
    return True


def test_no_call_of_any_route_breaks_it_or_reaches_a_backend_unshaped(pool, request):
    count = request.config.getoption("--bodies")
    dice = random.Random(request.config.getoption("--bodies-seed"))  # noqa: S311 - repeatable, not secret
    instant = {"time_scale": "0", "loras": "inky", "upscalers": "fixed", "upscaler_weights": "ESRGAN 4x GAN"}
    sims = [pool.add_sim(name, "red,blue", **instant) for name in ("one", "two")]
    unlimited = dict.fromkeys(("key_calls_per_minute", "address_calls_per_minute"), "1000000000")
    gateway = pool.start(default_model="red", caption_models=",".join(CAPTIONERS), **unlimited)
    pool.add_key(KEY, "hostile", LIMITS)
    served = served_by(gateway)
    refused = [tuple(operation.split(" ")) for operation in REFUSED]
    assert len(served) > 100
    # Each served one at least once even in the small form, and one in twenty of what a real server has besides.
    chosen = [dice.choice(refused) if dice.random() < 0.05 else served[number % len(served)] for number in range(count)]
    statuses, failures, options = asyncio.run(send_all(pool, [hostile_call(dice, one, KEY) for one in chosen]))
    assert failures == []
    assert statuses.total() == count
    assert statuses[200] > count // 3
    assert not OWN & json.loads(options).keys()
    assert "/etc/passwd" not in options
    received = [entry for sim in sims for entry in sim.ask("/__sim/received")]
    assert [entry for entry in received if entry["path"] in WORK]
    assert [problem for entry in received for problem in problems_of(entry)] == []
