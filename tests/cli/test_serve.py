"""`gateway serve` by its options; how its processes live and end stands in tests/launcher."""

from __future__ import annotations

import http.client
import os
import subprocess
import sys
from pathlib import Path

from gateway.launcher.listening import listen
from tests.support.patience import PATIENCE_S
from tests.support.ports import free_port
from tests.support.processes import wait_until

ROOT = Path(__file__).parents[2]
STANDIN = "tests.launcher.standin:create_app"
ALONE = {"app": STANDIN, "redis_url": "redis://127.0.0.1:1", "alone": "true", "drain_delay_s": "0"}


def test_options_beat_variables_and_variables_beat_the_file(gateways, tmp_path):
    port = free_port()
    (tmp_path / "gateway.toml").write_text('workers = 2\nhost = "192.0.2.1"\n')
    gateway = gateways.start(
        "serve", "--config", str(tmp_path / "gateway.toml"), "--port", str(port), host="127.0.0.1", **ALONE
    )
    gateway.port = port
    gateway.wait_until_ready()
    wait_until(lambda: len(gateway.descendants("--fd")) == 2, "two workers run")


def test_a_worker_serves_on_the_socket_it_was_given_and_exits_0(tmp_path):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GATEWAY_")}  # noqa: TID251
    environment |= {f"GATEWAY_{name.upper()}": value for name, value in ALONE.items()} | {"PYTHONPATH": str(ROOT)}
    with listen("127.0.0.1", 0) as listener:
        number, port = listener.fileno(), listener.getsockname()[1]
        worker = subprocess.Popen(  # noqa: S603
            [sys.executable, "-m", "gateway", "serve", "--fd", str(number)],
            env=environment,
            pass_fds=[number],
            cwd=tmp_path,
        )
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
    connection.request("GET", "/readyz")  # waits in the queue until the worker accepts
    assert connection.getresponse().status == 200
    connection.close()
    worker.terminate()
    assert worker.wait(60) == 0
