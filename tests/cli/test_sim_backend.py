"""The command line of a simulated server. That the process runs and ends is in tests/simulator/test_laws_process.py."""

from __future__ import annotations

import pytest
import typer
from typer.testing import CliRunner

from gateway.cli.sim_backend import sim_backend


def run(*flags: str) -> tuple[int, str]:
    app = typer.Typer()
    app.command()(sim_backend)
    result = CliRunner().invoke(app, list(flags), env={"COLUMNS": "200", "NO_COLOR": "1"})
    return result.exit_code, result.output


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        (("--fault", "meteor"), "unknown fault 'meteor'"),
        (("--upscalers", "broken"), "'broken' is none of stock, fixed"),
        (("--samplers-of-checkpoint", "a=Heun"), "'Heun' is none of EulerDiscrete, PNDM"),
        (("--time-scale", "-1"), "--time-scale"),
    ],
)
def test_a_wrong_flag_is_refused_with_the_reason(flags: tuple[str, ...], reason: str) -> None:
    status, output = run(*flags)

    assert status == 2
    assert reason in output


def test_help_names_the_flags() -> None:
    status, output = run("--help")

    assert status == 0
    for flag in ("--models", "--swap-seconds", "--time-scale", "--auth", "--fault", "--state-dir", "--new-model"):
        assert flag in output
