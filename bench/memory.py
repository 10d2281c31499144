"""What memory calls need: large pictures at once, many calls one after the other, callers that wait."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp

from bench import accounts, answers, servers
from bench.load import Request, run_wrk

LARGE_AT_ONCE = 200
WAITING = 1_000
MANY_CALLS = 100_000
LONGEST_S = 300  # for these
BUDGET_BYTES = 512_000_000  # the default of `byte_budget_mb`


def run(home: Path, *, say: Callable[[str], None], is_quick: bool) -> dict[str, Any]:
    """Bytes and counts of each part; every part has a gateway of its own, as memory once taken hides what follows."""
    found: dict[str, Any] = {}
    with servers.backends(home, 40, models=30) as ports:
        for part in (_large, _waiting, _many):
            with servers.gateway(home, ports if part is not _waiting else ports[:1]) as server:
                found |= part(home, server, is_quick=is_quick)
            say(f"memory: {found}")
    return found


def _large(home: Path, server: servers.Server, *, is_quick: bool) -> dict[str, Any]:
    """200 calls of 8 MB at once: what a burst takes at its peak, and what its callers were told."""
    pids = accounts.tree(server.pid)
    idle = accounts.memory_bytes(pids)
    body = answers.asked("8 MB")
    few = asyncio.run(_post_all(server, body, 8))
    forgotten = accounts.memory_bytes(pids, "VmHWM")
    accounts.forget_peak(pids)
    statuses = asyncio.run(_post_all(server, body, 20 if is_quick else LARGE_AT_ONCE))
    peak = accounts.memory_bytes(pids, "VmHWM")
    answer = len(answers.generated(answers.SIZES["8 MB"]))
    return {
        "idle_bytes": idle,
        "eight_at_once": dict(few),
        "eight_peak_bytes": forgotten,
        "eight_in_flight_bytes": 8 * (len(body) + answer),
        "burst_statuses": dict(statuses),
        "burst_peak_bytes": peak,
    }


async def _post_all(server: servers.Server, body: bytes, count: int) -> Counter[int]:
    """Status codes of so many calls sent at once."""
    headers = {"Authorization": f"Bearer {server.key}", "Content-Type": "application/json"}
    connector = aiohttp.TCPConnector(limit=0)

    async def post(session: aiohttp.ClientSession) -> int:
        try:
            async with session.post(f"{server.url}/sdapi/v1/img2img", data=body) as answer:
                async for _ in answer.content.iter_chunked(1 << 18):  # thrown away: two hundred would fill this process
                    pass
                return answer.status
        except aiohttp.ClientError:
            return 0  # refused before its body was read, and closed

    async with aiohttp.ClientSession(connector=connector, headers=headers) as session:
        return Counter(await asyncio.gather(*(post(session) for _ in range(count))))


def _waiting(home: Path, server: servers.Server, *, is_quick: bool) -> dict[str, Any]:
    """A thousand callers that wait for one backend: what each takes while it waits."""
    pids = accounts.tree(server.pid)
    return asyncio.run(_wait_all(server, pids, 100 if is_quick else WAITING))


async def _wait_all(server: servers.Server, pids: list[int], count: int) -> dict[str, Any]:
    """The backend is kept busy by a server that never answers, put in the place of the prepared one."""
    body = answers.asked("small")
    headers = {"Authorization": f"Bearer {server.key}", "Content-Type": "application/json"}
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), headers=headers) as session:

        async def post() -> int:
            async with session.post(f"{server.url}/sdapi/v1/txt2img", data=body) as answer:
                await answer.read()
                return answer.status

        await asyncio.gather(*(post() for _ in range(8)))
        before = accounts.memory_bytes(pids)
        accounts.forget_peak(pids)
        began = time.monotonic()
        statuses = Counter(await asyncio.gather(*(post() for _ in range(count))))
        peak = accounts.memory_bytes(pids, "VmHWM")
    return {
        "waiting_statuses": dict(statuses),
        "waiting_seconds": round(time.monotonic() - began, 1),
        "waiting_bytes_each": max(0, peak - before) // count,
    }


def _many(home: Path, server: servers.Server, *, is_quick: bool) -> dict[str, Any]:
    """Many calls one after the other: resident memory after each tenth; it must be flat behind the first ones."""
    pids, total = accounts.tree(server.pid), 5_000 if is_quick else MANY_CALLS
    request, done, resident = Request("POST", "/sdapi/v1/txt2img", answers.asked("small")), 0, []
    began = time.monotonic()
    while done < total and time.monotonic() - began < LONGEST_S:
        done += int(run_wrk(home, server, request, concurrency=16, seconds=10 if not is_quick else 2)["calls"])
        resident.append([done, accounts.memory_bytes(pids)])
    return {"many_calls": done, "many_resident_bytes": resident}


def table(found: dict[str, Any]) -> list[str]:
    """The figures as sentences with their budgets."""
    mb, idle = 1e6, found["idle_bytes"]
    first, last = found["many_resident_bytes"][0], found["many_resident_bytes"][-1]
    per_byte = (found["eight_peak_bytes"] - idle) / found["eight_in_flight_bytes"]
    burst = (found["burst_peak_bytes"] - idle) / BUDGET_BYTES
    return [
        "| what | measured | budget |",
        "|---|---|---|",
        f"| idle | {idle / mb:.0f} MB | 150 MB |",
        f"| 8 calls of 8 MB at once: peak above idle per byte in flight (body + answer) | {per_byte:.2f} | 2.5 |",
        f"| 200 calls of 8 MB at once (answers: {found['burst_statuses']}): peak | {found['burst_peak_bytes'] / mb:.0f}"
        f" MB, {burst:.2f} x the byte budget above idle | 2.5 |",
        f"| 1,000 waiting callers (answers: {found['waiting_statuses']}): memory each |"
        f" {found['waiting_bytes_each'] / 1000:.1f} kB | 60 kB |",
        f"| resident after {first[0]} / {last[0]} calls | {first[1] / mb:.1f} / {last[1] / mb:.1f} MB | flat |",
    ]
