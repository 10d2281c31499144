"""Whatever is sent, a backend only ever receives what the policy table lets through, and no caller ever sees a 5xx."""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter

import aiohttp

from gateway.domain.jobs import Operation
from tests.support.hostile import CAPTIONERS, WORK, hostile_body, problems_of
from tests.support.patience import PATIENCE_S

KEY = "sk-hostile-0123456789abcdefghij"
LIMITS = {"requests_per_minute": 1_000_000, "burst": 1_000_000, "max_queued": 2000, "max_concurrency": 8}
AT_ONCE = 24
SERVER_ERROR = 500


async def send_all(pool, bodies):
    """The statuses of all answers, sent `AT_ONCE` at a time; no answer may be a 5xx."""
    waiting, statuses, failures = list(bodies), [], []
    options = {"headers": {"Authorization": f"Bearer {KEY}"}, "timeout": aiohttp.ClientTimeout(total=PATIENCE_S)}
    async with aiohttp.ClientSession(f"http://127.0.0.1:{pool.gateway.port}", **options) as session:

        async def work():
            while waiting:
                operation, body = waiting.pop()
                async with session.post(f"/sdapi/v1/{operation}", data=body) as answer:
                    reply = json.loads(await answer.read())
                    statuses.append(answer.status)
                    if answer.status >= SERVER_ERROR:
                        failures.append((operation, body, reply))

        await asyncio.gather(*(work() for _ in range(AT_ONCE)))
    assert failures == []
    return Counter(statuses)


def test_only_what_the_table_allows_ever_reaches_a_backend(pool, request):
    count = request.config.getoption("--bodies")
    instant = {"time_scale": "0", "loras": "inky", "upscalers": "fixed", "upscaler_weights": "ESRGAN 4x GAN"}
    sims = [pool.add_sim(name, "red,blue", **instant) for name in ("one", "two")]
    pool.start(caption_models=",".join(CAPTIONERS), key_calls_per_minute="1000000000")
    pool.add_key(KEY, "hostile", LIMITS)
    dice = random.Random(request.config.getoption("--bodies-seed"))  # noqa: S311 - repeatable, not secret
    bodies = [(dice.choice(list(Operation)), hostile_body(dice)) for _ in range(count)]
    statuses = asyncio.run(send_all(pool, bodies))
    received = [entry for sim in sims for entry in sim.ask("/__sim/received")]
    assert len([entry for entry in received if entry["path"] in WORK]) >= statuses[200] > count // 20
    assert [problem for entry in received for problem in problems_of(entry)] == []
