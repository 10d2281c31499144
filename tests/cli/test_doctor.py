"""`gateway doctor` as it is typed: which backends it finds, its table, its status."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

from gateway.domain.backends import Backend
from gateway.settings import Settings
from gateway.wiring.desk import migrate_schema, open_management
from tests.support.pools import AUTHOR, Sim
from tests.support.ports import free_port
from tests.support.processes import wait_until

ROOT = Path(__file__).parents[2]


def run(tmp_path, *words, **settings):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GATEWAY_")}  # noqa: TID251
    settings = {"data_dir": str(tmp_path / "data"), **settings}
    environment |= {f"GATEWAY_{name.upper()}": value for name, value in settings.items()} | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "gateway", "doctor", *words]
    return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)  # noqa: S603


def simulated(gateways, name):
    port = free_port()
    process = gateways.start("sim-backend", "--port", str(port), "--models", "red", "--upscalers", "fixed", port=port)
    sim = Sim(name, port, process)
    wait_until(sim.is_up, f"{name} is up")
    return sim


def test_declared_and_added_backends_are_examined_and_what_must_be_changed_is_status_1(gateways, tmp_path):
    well = simulated(gateways, "well")

    async def add():
        settings = Settings(data_dir=tmp_path / "data", alone=True)
        await migrate_schema(settings)
        async with open_management(settings) as manager:
            await manager.add_backend(AUTHOR, Backend("added", well.url))

    asyncio.run(add())
    away = f"http://127.0.0.1:{free_port()}"
    declared = json.dumps([{"name": "declared", "url": well.url}, {"name": "gone", "url": away}])
    done = run(tmp_path, "--json", backends=declared)
    rows = json.loads(done.stdout)
    verdicts = {(row["backend"], row["check"]): row["verdict"] for row in rows}
    assert done.returncode == 1, done.stderr
    assert [row["backend"] for row in rows] == ["added"] * 8 + ["declared"] * 8 + ["gone"]
    assert verdicts["gone", "reach"] == "change"
    assert {verdicts[name, "picture"] for name in ("added", "declared")} == {"ok"}


def test_a_pool_that_is_well_is_a_table_and_status_0(gateways, tmp_path):
    well = simulated(gateways, "well")
    done = run(tmp_path, "--look-only", backends=well.url)
    assert done.returncode == 0, done.stderr
    heads = [line.split()[:3] for line in done.stdout.splitlines()]
    assert heads[:3] == [["backend", "check", "verdict"], [f"127.0.0.1:{well.port}", "reach", "ok"],
                         [f"127.0.0.1:{well.port}", "models", "ok"]]  # fmt: skip
    assert not (tmp_path / "data").exists()


def test_without_a_backend_it_says_how_to_add_one(tmp_path):
    done = run(tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert "gateway backend add" in done.stderr
