"""`make live-vs-simulated`: one trace through real processes and through `gateway simulate`, side by side.

Three gateway processes share one Valkey and one database; four simulated SD.Next servers, each a process, do the work.
The pool and trace files are the same for both sides and state what those servers really need: every second of the
recipe is `scale` times shorter, so that an hour of jobs takes minutes, and pictures have an eighth of their sides,
each megapixel-step taking 64 times as long, so that painting them costs this machine nothing. Nothing is fitted.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import redis

from bench.servers import AUTHOR, NO_LIMITS, fetch, free_ports, running, wait_until
from gateway.domain.managed import Tenant
from gateway.flow.credentials import KeyRequest
from gateway.launcher.embedded import EmbeddedValkey
from gateway.settings import Settings
from gateway.simulator.pool.engine import simulate
from gateway.simulator.pool.files import pool_of, trace_of
from gateway.simulator.pool.generate import Recipe, make
from gateway.simulator.pool.production import Gateway
from gateway.wiring.desk import open_management

RECIPE = Recipe(backends=4, models=12, tenants=6, jobs=300, load=0.7, seed=8)
SCALE = 10.0
REPLICAS = 3
RUNS = 5
MEAN_WITHIN, SWAPS_WITHIN = 0.15, 0.10
SMALLER = 8  # each side of a picture
NOBODYS = "nobodys-checkpoint"  # what a simulated server has loaded at its start; the trace never asks for it


@dataclass(frozen=True, slots=True)
class Scenario:
    """A pool file's object and a trace's lines, in real seconds; `scale` is how much faster than the recipe."""

    pool: dict[str, Any]
    lines: list[dict[str, Any]]
    scale: float


@dataclass(frozen=True, slots=True)
class Seen:
    """One run of a trace: mean seconds from sending to answer, loads of checkpoints, and answers by status."""

    mean_s: float
    swaps: int
    statuses: dict[int, int]


def scenario(recipe: Recipe = RECIPE, scale: float = SCALE) -> Scenario:
    """The recipe's pool and trace, faster and with smaller pictures."""
    pool, lines = make(recipe)
    for backend in pool["backends"]:
        backend["seconds_per_megapixel_step"] *= SMALLER**2 / scale
        backend["swap_s"] /= scale
    for line in lines:
        line["t"] /= scale
        line["width"] //= SMALLER
        line["height"] //= SMALLER
    return Scenario(pool, lines, scale)


def simulated(chosen: Scenario) -> Seen:
    """What `gateway simulate` says of it."""
    gpus, jobs = pool_of(chosen.pool), trace_of(chosen.lines).jobs
    outcome = simulate(gpus, jobs, Gateway(gpus))
    return Seen(statistics.mean(done.latency_s for done in outcome.done), outcome.swaps, {200: len(outcome.done)})


def live(chosen: Scenario, home: Path, replicas: int = REPLICAS) -> Seen:
    """The same jobs, each sent at its time, through processes that begin with nothing learned."""
    home.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        sims = stack.enter_context(_sims(chosen, home))
        gateways = stack.enter_context(_gateways(home, sims, replicas))
        tenants = sorted({str(line["tenant"]) for line in chosen.lines})
        before = _loads(sims)
        latencies, statuses = asyncio.run(_calls(chosen.lines, gateways, tenants))
        return Seen(statistics.mean(latencies), _loads(sims) - before, statuses)


# --- processes


@contextmanager
def _sims(chosen: Scenario, home: Path) -> Iterator[dict[str, str]]:
    """The servers of the pool file; their addresses by name."""
    backends = chosen.pool["backends"]
    with ExitStack() as stack:
        urls = {}
        for backend, port in zip(backends, free_ports(len(backends)), strict=True):
            words = {
                "port": port,
                "models": ",".join([NOBODYS, *backend["models"]]),
                # Simulated seconds are the recipe's: what SD.Next needs besides is as much faster.
                "seconds-per-megapixel-step": backend["seconds_per_megapixel_step"] * chosen.scale,
                "swap-seconds": backend["swap_s"] * chosen.scale,
                "time-scale": 1 / chosen.scale,
            }
            flags = [text for name, value in words.items() for text in (f"--{name}", str(value))]
            stack.enter_context(running(backend["name"], [*_PROGRAM, "sim-backend", *flags], home))
            urls[backend["name"]] = f"http://127.0.0.1:{port}"
        for name, url in urls.items():
            wait_until(lambda url=url: fetch(f"{url}/sdapi/v1/sd-models")[0] == 200, f"{name} answers")
        yield urls


_PROGRAM = (sys.executable, "-m", "gateway")


@contextmanager
def _gateways(home: Path, sims: dict[str, str], replicas: int) -> Iterator[list[str]]:
    """Gateway processes on one Valkey and one database, each with the whole pool up; their addresses."""
    database = f"sqlite:///{home / 'gateway.db'}"
    with ExitStack() as stack:
        valkey = stack.enter_context(EmbeddedValkey(home / "valkey", persist=True))
        shared = {
            "redis_url": valkey.url,
            "database_url": database,
            "alone": "true",
            "backends": json.dumps([{"name": name, "url": url} for name, url in sims.items()]),
            "first_key": _key("first"),
            "drain_delay_s": 0,
            "grace_s": 5,
        }
        urls = []
        for port in free_ports(replicas):
            data = home / f"data-{port}"
            data.mkdir()
            settings = {**shared, "port": port, "data_dir": data}
            variables = {f"GATEWAY_{name.upper()}": str(value) for name, value in settings.items()}
            stack.enter_context(running(f"gateway-{port}", [*_PROGRAM, "serve"], home, **variables))
            urls.append(f"http://127.0.0.1:{port}")
            wait_until(lambda url=urls[-1]: fetch(f"{url}/readyz")[0] == 200, "the gateway is ready")
        settings = Settings(database_url=database, redis_url=valkey.url, alone=True)
        asyncio.run(_make_keys(settings, sorted({f"t{n}" for n in range(RECIPE.tenants)})))
        with redis.Redis.from_url(valkey.url, decode_responses=True) as store:
            wait_until(lambda: _is_settled(store, urls, len(sims)), "every gateway knows every backend as free")
        yield urls


def _is_settled(store: redis.Redis, urls: Sequence[str], backends: int) -> bool:
    known = {json.loads(fetch(f"{url}/readyz")[1])["pool"]["backends"] for url in urls}
    up = list(store.hvals("{gateway}:bstate")).count("up")
    return known == {backends} and up == backends and not store.exists("{gateway}:slot")


async def _make_keys(settings: Settings, tenants: Sequence[str]) -> None:
    async with open_management(settings) as manager:
        await manager.create_plan(AUTHOR, "bench", NO_LIMITS)
        for tenant in tenants:
            await manager.credentials.ensure_key(AUTHOR, KeyRequest(tenant, "bench", secret=_key(tenant)))
            await manager.change(AUTHOR, (Tenant, tenant), {"plan": "bench"})


def _key(tenant: str) -> str:
    return f"sk-{tenant}-0123456789abcdefghij"


def _loads(sims: dict[str, str]) -> int:
    return sum(int(json.loads(fetch(f"{url}/__sim/state")[1])["loads"]) for url in sims.values())


# --- callers


async def _calls(lines: list[dict[str, Any]], gateways: list[str], tenants: list[str]) -> tuple[list[float], dict]:
    """Send each line at its time, to the gateways in turn; seconds of each call, answers by status."""
    latencies: list[float] = []
    statuses: dict[int, int] = {}
    limits = httpx2.Limits(max_connections=None)
    async with httpx2.AsyncClient(timeout=600, limits=limits) as client:
        for url in gateways:  # each process looks every key up once: that is no part of the trace
            for tenant in tenants:
                await client.get(f"{url}/sdapi/v1/samplers", headers=_headers(tenant))
        began = time.monotonic()

        async def call(number: int, line: dict[str, Any]) -> None:
            await asyncio.sleep(began + line["t"] - time.monotonic())
            sent_at = time.monotonic()
            url = f"{gateways[number % len(gateways)]}/sdapi/v1/txt2img"
            answer = await client.post(url, json=_body(line), headers=_headers(line["tenant"]))
            latencies.append(time.monotonic() - sent_at)
            statuses[answer.status_code] = statuses.get(answer.status_code, 0) + 1

        async with asyncio.TaskGroup() as group:
            for number, line in enumerate(lines):
                group.create_task(call(number, line))
    return latencies, statuses


def _headers(tenant: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {_key(tenant)}"}


def _body(line: dict[str, Any]) -> dict[str, Any]:
    return {
        "prompt": "a lighthouse",
        "sd_model_checkpoint": line["model"],
        "steps": line["steps"],
        "width": line["width"],
        "height": line["height"],
        "n_iter": line["images"],
    }


# --- the table


def main() -> int:
    """Run, print, and say by the status whether both agree."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--runs", type=int, default=RUNS)
    asked.add_argument("--scale", type=float, default=SCALE)
    flags = asked.parse_args()
    chosen = scenario(scale=flags.scale)
    expected = simulated(chosen)
    print(f"{len(chosen.lines)} jobs, {len(chosen.pool['backends'])} backends, {REPLICAS} gateways, x {chosen.scale:g}")
    print("\n| run | mean latency s | against simulated | swaps | against simulated |\n|---|---|---|---|---|")
    print(f"| simulated | {expected.mean_s:.3f} | | {expected.swaps} | |", flush=True)
    runs = []
    for number in range(1, flags.runs + 1):
        with tempfile.TemporaryDirectory(prefix="live") as folder:
            runs.append(live(chosen, Path(folder)))
        print(_row(str(number), runs[-1].mean_s, runs[-1].swaps, expected), flush=True)
    mean_s, swaps = statistics.mean(r.mean_s for r in runs), statistics.mean(r.swaps for r in runs)
    print(_row("mean", mean_s, swaps, expected))
    faults = verdicts(expected, runs)
    print("\n" + ("\n".join(f"- MISSED: {fault}" for fault in faults) or "- holds: both agree"))
    return 1 if faults else 0


def _row(name: str, mean_s: float, swaps: float, expected: Seen) -> str:
    against = (mean_s / expected.mean_s - 1, swaps / expected.swaps - 1)
    return f"| {name} | {mean_s:.3f} | {against[0]:+.1%} | {swaps:g} | {against[1]:+.1%} |"


def verdicts(expected: Seen, runs: Sequence[Seen]) -> list[str]:
    """What is out of bounds: the mean of the runs' means, the swaps of each run, any answer but 200."""
    faults = [f"answers {run.statuses}" for run in runs if run.statuses != expected.statuses]
    mean_s = statistics.mean(run.mean_s for run in runs)
    if abs(mean_s / expected.mean_s - 1) > MEAN_WITHIN:
        faults.append(f"mean latency {mean_s:.3f} s, not within {MEAN_WITHIN:.0%} of {expected.mean_s:.3f} s")
    for number, run in enumerate(runs, 1):
        if abs(run.swaps / expected.swaps - 1) > SWAPS_WITHIN:
            faults.append(f"run {number}: {run.swaps} swaps, not within {SWAPS_WITHIN:.0%} of {expected.swaps}")
    return faults


if __name__ == "__main__":
    sys.exit(main())
