"""Whatever is sent to any route but the generating ones, no caller sees a 5xx, and no backend hears of it."""

from __future__ import annotations

import asyncio
import json
import random

import aiohttp

from tests.support.hostile import hostile_body

KEY = "sk-hostile-0123456789abcdefghij"
LIMITS = {"requests_per_minute": 1_000_000, "burst": 1_000_000}
ROUTES = (
    "/sdapi/v1/options", "/sdapi/v1/interrupt", "/sdapi/v1/skip", "/sdapi/v1/png-info", "/sdapi/v1/extra-batch-images",
    "/sdapi/v1/checkpoint", "/sdapi/v1/refresh-loras", "/sdapi/v1/unload-checkpoint", "/internal/progress", "/login",
    "/v1/explain", "/v1/explain?operation=img2img", "/v1/explain?operation=extra-single-image",
)  # fmt: skip
READS = ("/sdapi/v1/options", "/sdapi/v1/progress", "/sdapi/v1/status", "/sdapi/v1/checkpoint", "/v1/account")
NEVER_SENT = {"interrupt", "skip", "png-info", "extra-batch-images", "refresh-loras", "unload-checkpoint"}
AT_ONCE = 8
OWN = {"outdir_samples", "no_such_dir", "forge_preset"}


async def send_all(pool, bodies):
    """The 5xx answers to these bodies, each followed by a look at what came of it."""
    waiting, failures = list(bodies), []
    options = {"headers": {"Authorization": f"Bearer {KEY}"}, "timeout": aiohttp.ClientTimeout(total=120)}
    async with aiohttp.ClientSession(f"http://127.0.0.1:{pool.gateway.port}", **options) as session:

        async def work():
            while waiting:
                route, read, body = waiting.pop()
                for method, path, data in (("POST", route, body), ("GET", read, None)):
                    async with session.request(method, path, data=data) as answer:
                        reply = await answer.read()
                        json.loads(reply)
                        if answer.status >= 500 or b"/etc/passwd" in reply.replace(body, b""):
                            failures.append((method, path, body, reply[:500]))

        await asyncio.gather(*(work() for _ in range(AT_ONCE)))
        async with session.get("/sdapi/v1/options") as answer:
            return failures, await answer.json()


def posted(dice):
    """A body of a generation, or what looks like options."""
    body = hostile_body(dice)
    if dice.random() < 0.3:
        return json.dumps(
            {**dict.fromkeys(OWN, "/x"), "sd_vae": "/etc/passwd", "clip_skip": dice.choice(VALUES)}
        ).encode()
    return body


VALUES = (None, 2, 0, -1, 10**30, "2", [], {}, True, "/etc/passwd", "x" * 5000)


def test_no_body_breaks_a_route_or_reaches_a_backend(pool, request):
    count = request.config.getoption("--bodies")
    sim = pool.add_sim("one", "red,blue", time_scale="0", loras="inky")
    pool.start(default_model="red")
    pool.add_key(KEY, "hostile", LIMITS)
    before = [entry["path"] for entry in sim.ask("/__sim/received")]
    dice = random.Random(request.config.getoption("--bodies-seed"))  # noqa: S311 - repeatable, not secret
    bodies = [(dice.choice(ROUTES), dice.choice(READS), posted(dice)) for _ in range(count)]
    failures, options = asyncio.run(send_all(pool, bodies))
    assert failures == []
    assert not OWN & options.keys()
    news = [entry["path"] for entry in sim.ask("/__sim/received")][len(before) :]
    assert [path for path in news if path.rpartition("/")[2] in NEVER_SENT] == []
