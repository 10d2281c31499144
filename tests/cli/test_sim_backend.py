"""`gateway sim-backend`: its flags reach the simulated server, and wrong ones are told."""

from __future__ import annotations

import json
import signal

import pytest

from tests.cli.test_cli import run
from tests.support.ports import free_port
from tests.support.processes import wait_until


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (("--fault", "no-such-fault"), "unknown fault"),
        (("--fault", "500,nonsense"), "cannot read"),
        (("--upscalers", "other"), "stock"),
        (("--samplers-of-checkpoint", "Heun"), "EulerDiscrete"),
    ],
)
def test_a_flag_that_cannot_be_is_told_and_nothing_starts(flags, told):
    ended = run("sim-backend", "--port", str(free_port()), *flags)
    assert ended.returncode == 2
    assert told in ended.stderr.replace("\n", " ")


def test_its_models_faults_and_password_are_those_of_the_flags(gateways):
    port = free_port()
    flags = ["--models", "red, blue", "--auth", "user:secret", "--fault", "500,path=/sdapi/v1/samplers"]
    server = gateways.start("sim-backend", "--port", str(port), *flags, port=port)

    def answers():
        try:
            return server.get("/sdapi/v1/sd-models")[0] == 401
        except OSError:
            return False

    wait_until(answers, "it asks for the password")
    armed = json.loads(server.get("/__sim/faults")[2])
    assert "500" in json.dumps(armed)
    server.process.send_signal(signal.SIGTERM)
    assert server.ended() == 0
    assert f"http://127.0.0.1:{port}" in server.output
