"""The end of a process: what its callers hear, and what the ledger has of their jobs."""

from __future__ import annotations

import asyncio
import signal
import sqlite3
from contextlib import closing
from pathlib import Path

import httpx2
import pytest

from tests.support.pools import SMALL
from tests.support.processes import wait_until, wait_until_async

RED = {**SMALL, "sd_model_checkpoint": "red"}
BLUE = {**SMALL, "sd_model_checkpoint": "blue"}
TXT2IMG = "/sdapi/v1/txt2img"


def recorded(database: Path) -> list[tuple[str, str]]:
    with closing(sqlite3.connect(database)) as opened:
        return sorted(opened.execute("select outcome, backend from ledger"))


@pytest.mark.parametrize("phase", ["inference", "load"])
def test_at_the_end_of_grace_who_runs_and_who_waits_gets_503_with_retry_after_and_a_record(pool, tmp_path, phase):
    """Also while a checkpoint is being loaded, which no interrupt ends."""
    sim = pool.add_sim("one", "red,blue", seconds_per_megapixel_step="0.01", swap_seconds="0.05")
    shared = f"sqlite:///{tmp_path / 'shared.db'}"
    gateway = pool.start(grace_s="1", database_url=shared)
    assert pool.post(RED).status_code == 200
    sim.ask(f"/__sim/hold?phase={phase}", method="POST")

    async def story() -> list[httpx2.Response]:
        async with pool.client() as client, asyncio.TaskGroup() as group:
            running = group.create_task(client.post(TXT2IMG, json=BLUE))
            await wait_until_async(
                lambda: asyncio.sleep(0, sim.ask("/__sim/state")["waiting_or_running"] == 1), "it runs"
            )
            waiting = [group.create_task(client.post(TXT2IMG, json=BLUE)) for _ in range(3)]
            await wait_until_async(
                lambda: asyncio.sleep(0, pool.valkey.client.zcard("{gateway}:tickets") == 3), "three wait"
            )
            gateway.process.send_signal(signal.SIGTERM)
            return [await call for call in (running, *waiting)]

    answers = asyncio.run(story())
    assert [(answer.status_code, "retry-after" in answer.headers) for answer in answers] == [(503, True)] * 4
    assert gateway.ended() == 0
    sim.ask(f"/__sim/hold?phase={phase}", method="DELETE")
    second = pool.start(database_url=shared)
    wait_until(lambda: pool.post(BLUE).status_code == 200, "the backend is used again")
    outcomes = [("finished", "one"), ("finished", "one"), ("interrupted", "one"), *[("withdrawn", "")] * 3]
    wait_until(lambda: len(recorded(tmp_path / "shared.db")) >= len(outcomes), "every record is written")
    assert recorded(tmp_path / "shared.db") == outcomes
    assert second.process.poll() is None
