"""Whatever is sent, a backend only ever receives what the policy table lets through, and no caller ever sees a 5xx."""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter

import aiohttp

from gateway.domain.jobs import Operation
from gateway.domain.parameters.generation_rows import GENERATION, PROMPTS
from gateway.domain.parameters.table import Does
from gateway.domain.parameters.upscale_rows import UPSCALE
from tests.support.hostile import hostile_body

KEY = "sk-hostile-0123456789abcdefghij"
LIMITS = {"requests_per_minute": 1_000_000, "burst": 1_000_000, "max_queued": 2000, "max_concurrency": 8}
ALWAYS = {"send_images", "save_images", "override_settings_restore_afterwards", "show_extras_results"}
AT_ONCE = 24
SERVER_ERROR = 500


def allowed(table):
    return {name for name, row in table.items() if row.does is not Does.DROP} | ALWAYS


async def send_all(pool, bodies):
    """The statuses of all answers, sent `AT_ONCE` at a time; no answer may be a 5xx."""
    waiting, statuses, failures = list(bodies), [], []
    options = {"headers": {"Authorization": f"Bearer {KEY}"}, "timeout": aiohttp.ClientTimeout(total=120)}
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


def judge(entry):
    """What is wrong with what a backend received, in words; nothing for a request that may pass."""
    body, is_upscale = entry["body"], entry["path"].endswith(Operation.UPSCALE)
    wrong = set(body) - allowed(UPSCALE if is_upscale else GENERATION)
    text = json.dumps({name: value for name, value in body.items() if name not in PROMPTS})  # prompts are free text
    problems = [f"field {name}" for name in wrong]
    problems += [word for word in ("://", "/etc/passwd", "upload:", "outdir", "secrets.json") if word in text]
    if not is_upscale and body.get("sd_model_checkpoint") not in ("red", "blue"):
        problems.append(f"model {body.get('sd_model_checkpoint')!r}")
    if body.get("save_images") or set(body.get("override_settings") or {}) - {"sd_vae"}:
        problems.append("saving or settings")
    return problems


def test_only_what_the_table_allows_ever_reaches_a_backend(pool, request):
    count = request.config.getoption("--bodies")
    instant = {"time_scale": "0", "loras": "inky", "upscalers": "fixed"}
    sims = [pool.add_sim(name, "red,blue", **instant) for name in ("one", "two")]
    pool.start()
    pool.add_key(KEY, "hostile", LIMITS)
    dice = random.Random(request.config.getoption("--bodies-seed"))  # noqa: S311 - repeatable, not secret
    bodies = [(dice.choice(list(Operation)), hostile_body(dice)) for _ in range(count)]
    statuses = asyncio.run(send_all(pool, bodies))
    work = [
        entry
        for sim in sims
        for entry in sim.ask("/__sim/received")
        if entry["path"].rpartition("/")[2] in set(Operation)
    ]
    assert len(work) >= statuses[200] > count // 20
    assert [problem for entry in work for problem in judge(entry)] == []
