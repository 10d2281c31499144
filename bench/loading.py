"""`make bench-loading`: what lists, options and progress take while every backend of the pool loads a checkpoint.

Simulated SD.Next servers, whose routes stall while they load as a real one's do; calls that wait for other checkpoints;
clients that ask every list, the options and the progress in turn. `/livez`, which asks nobody, is measured beside them:
what it takes is the machine's and the client's share.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import aiohttp

from bench import answers, servers

BACKENDS, MODELS, LORAS = 4, 300, 150
SWAP_S = 60.0
WAITING = 40
CLIENTS, PAUSE_S = 6, 0.05
MOST_MEDIAN_MS, MOST_MS = 50.0, 1000.0
FLOOR = "/livez"
POSTS = {
    "/sdapi/v1/options": {"send_seed": True, "CLIP_stop_at_last_layers": 2},
    "/internal/progress": {"id_task": "", "live_preview": True},
    "/sdapi/v1/refresh-checkpoints": {},
}


def models(backend: int) -> list[str]:
    """The checkpoints of one backend: the one that is loaded, many that all have, and some of its own."""
    own = [f"Diffusers/own-{backend}-{number:03}" for number in range(MODELS // 10)]
    return [answers.MODEL, *(f"Diffusers/shared-{number:03}" for number in range(MODELS - len(own) - 1)), *own]


@contextmanager
def backends(home: Path) -> Iterator[list[int]]:
    """Simulated servers on these ports."""
    ports = servers.free_ports(BACKENDS)
    loras = ",".join(f"styles/lora-{number:03}" for number in range(LORAS))
    with ExitStack() as stack:
        for number, port in enumerate(ports):
            command = [sys.executable, "-m", "gateway", "sim-backend", "--port", str(port), "--loras", loras]
            command += ["--models", ",".join(models(number)), "--swap-seconds", str(SWAP_S)]
            stack.enter_context(servers.running(f"sim-{port}", command, home))
        for port in ports:
            url = f"http://127.0.0.1:{port}/sdapi/v1/sd-models"
            servers.wait_until(lambda url=url: servers.fetch(url)[0] == 200, "a simulated server answers")
        yield ports


async def measured(server: servers.Server, ports: list[int]) -> dict[str, list[float]]:
    """Milliseconds of every call by method and path, for as long as the whole pool loads."""
    taken: dict[str, list[float]] = defaultdict(list)
    timeout = aiohttp.ClientTimeout(total=600)
    headers = {"Authorization": f"Bearer {server.key}"}
    async with aiohttp.ClientSession(server.url, headers=headers, timeout=timeout) as session:
        async with session.get("/openapi.json") as answer:
            paths = (await answer.json())["paths"]
        reads = [
            path for path, methods in paths.items() if path.startswith(("/sdapi/", "/queue/")) and "get" in methods
        ]
        asked = [("GET", path) for path in (*reads, "/v1/account", FLOOR)] + [("POST", path) for path in POSTS]
        async with asyncio.TaskGroup() as group:
            jobs = [group.create_task(_generate(session, number)) for number in range(BACKENDS + WAITING)]
            await asyncio.to_thread(servers.wait_until, lambda: all(map(_is_loading, ports)), "every backend loads")
            until = time.monotonic() + SWAP_S - 10  # all of it while all load, the last one too
            clients = [
                _ask(session, asked[n:] + asked[:n], until, taken) for n in range(0, len(asked), len(asked) // CLIENTS)
            ]
            await asyncio.gather(*clients)
            if not all(map(_is_loading, ports)):
                raise RuntimeError("a backend had loaded before the measurement ended")
            for job in jobs:
                job.cancel()
    return taken


async def _generate(session: aiohttp.ClientSession, number: int) -> None:
    """One picture with a checkpoint that only one backend has; its caller leaves when this is cancelled."""
    model = f"own-{number % BACKENDS}-{number // BACKENDS:03}"
    body = {"prompt": "a lighthouse", "steps": 1, "width": 64, "height": 64, "sd_model_checkpoint": model}
    async with session.post("/sdapi/v1/txt2img", json=body) as answer:
        await answer.read()


def _is_loading(port: int) -> bool:
    state = json.loads(servers.fetch(f"http://127.0.0.1:{port}/sdapi/v1/progress?skip_current_image=true")[1])["state"]
    return bool(state["job"] == "Load model")


async def _ask(
    session: aiohttp.ClientSession, asked: list[tuple[str, str]], until: float, taken: dict[str, list[float]]
) -> None:
    while True:
        for method, path in asked:
            if time.monotonic() > until:
                return
            began = time.perf_counter()
            async with session.request(method, path, json=POSTS[path] if method == "POST" else None) as answer:
                await answer.read()
            taken[f"{method} {path}"].append(1000 * (time.perf_counter() - began))
            if answer.status != 200:
                raise RuntimeError(f"{method} {path} answered {answer.status}")
            await asyncio.sleep(PAUSE_S)


def table(taken: dict[str, list[float]]) -> list[str]:
    """The slowest calls by their median and by their worst, the floor, all together; and whether the aims hold."""
    floor = f"GET {FLOOR}"
    rows = {name: (statistics.median(times), max(times), len(times)) for name, times in taken.items()}
    by_median = sorted(rows.keys() - {floor}, key=lambda name: -rows[name][0])[:5]
    by_worst = sorted(rows.keys() - {floor}, key=lambda name: -rows[name][1])[:5]
    every = sorted(ms for name, times in taken.items() if name != floor for ms in times)
    lines = ["| call | p50 ms | worst ms | calls |", "|---|---|---|---|"]
    for name in dict.fromkeys((*by_median, *by_worst, floor)):
        lines.append("| {} | {:.1f} | {:.0f} | {} |".format(name, *rows[name]))
    p99 = every[round(0.99 * (len(every) - 1))]
    lines.append(
        f"| all {len(rows) - 1} | {statistics.median(every):.1f} (p99 {p99:.0f}) | {every[-1]:.0f} | {len(every)} |"
    )
    slowest = rows[by_median[0]][0]
    return [
        *lines,
        "",
        f"- {'holds' if slowest < MOST_MEDIAN_MS else 'MISSED'}: every median < {MOST_MEDIAN_MS:.0f} ms: {slowest:.1f}",
        f"- {'holds' if every[-1] < MOST_MS else 'MISSED'}: no call takes {MOST_MS:.0f} ms: {every[-1]:.0f}",
    ]


def main() -> None:
    """Measure and print."""
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="b") as folder:
        home = Path(folder)
        with backends(home) as ports, servers.gateway(home, ports) as server:
            print(f"load of the machine before: {load:.1f}", file=sys.stderr)
            taken = asyncio.run(measured(server, ports))
    print(*table(taken), sep="\n")


if __name__ == "__main__":
    main()
