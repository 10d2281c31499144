"""A backend that its operator drains by the command line, over real processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading

from tests.support.pools import SMALL
from tests.support.processes import wait_until

FAST = {"seconds_per_megapixel_step": "0.01", "swap_seconds": "0.05"}
RED = {**SMALL, "sd_model_checkpoint": "red"}


def command(pool, *words):
    """What an operator types beside the gateway, with the same settings."""
    settings = {
        "GATEWAY_DATA_DIR": str(pool.gateway.home),
        "GATEWAY_REDIS_URL": pool.valkey.url,
        "GATEWAY_ALONE": "true",
        "GATEWAY_BACKENDS": json.dumps([{"name": sim.name, "url": sim.url} for sim in pool.sims.values()]),
    }
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GATEWAY_")}  # noqa: TID251
    done = subprocess.run(  # noqa: S603 - our own command
        [sys.executable, "-m", "gateway", *words],
        env=environment | settings,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def pictures_of(sim):
    return len(sim.received("/sdapi/v1/txt2img"))


def state_of(pool, name):
    return pool.valkey.client.hget("{gateway}:bstate", name)


def test_a_drained_backend_ends_its_job_and_gets_no_other_until_it_is_resumed(pool):
    one, two = pool.add_sim("one", "red", **FAST), pool.add_sim("two", "red", **FAST)
    pool.start()
    for sim in (one, two):
        sim.ask("/__sim/hold?phase=inference", method="POST")
    statuses = []
    callers = [threading.Thread(target=lambda: statuses.append(pool.post(RED).status_code)) for _ in range(2)]
    for caller in callers:
        caller.start()
    wait_until(lambda: pool.valkey.client.hlen("{gateway}:slot") == 2, "each runs a job")

    assert "gets no new work" in command(pool, "backend", "drain", "one")
    wait_until(lambda: state_of(pool, "one") == "draining", "every gateway knows of it")
    assert "draining" in command(pool, "queue")
    for sim in (one, two):
        sim.ask("/__sim/hold?phase=inference", method="DELETE")
    for caller in callers:
        caller.join(60)
    assert statuses == [200, 200]  # also that of the job on the drained one

    # Nobody waits and both have the checkpoint loaded: either would be given at once.
    assert [pool.post(RED).status_code for _ in range(5)] == [200] * 5
    assert (pictures_of(one), pictures_of(two)) == (1, 6)

    command(pool, "backend", "resume", "one")
    wait_until(lambda: state_of(pool, "one") == "up", "it is resumed")
    command(pool, "backend", "drain", "two")
    wait_until(lambda: state_of(pool, "two") == "draining", "the other one drains")
    assert pool.post(RED).status_code == 200
    assert (pictures_of(one), pictures_of(two)) == (2, 6)
