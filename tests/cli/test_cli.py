from __future__ import annotations

import importlib.metadata
import os
import subprocess
import sys

import pytest

from tests.support.patience import PATIENCE_S


def run(*arguments, **settings):
    """`gateway ARGUMENTS` to its end; `settings` become GATEWAY_* variables."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GATEWAY_")}  # noqa: TID251
    environment |= {f"GATEWAY_{name.upper()}": value for name, value in settings.items()}
    return subprocess.run(  # noqa: S603
        [sys.executable, "-m", "gateway", *arguments],
        env=environment, capture_output=True, text=True, timeout=PATIENCE_S, check=False,
    )  # fmt: skip


def test_the_help_names_the_commands():
    told = run("--help")
    assert told.returncode == 0
    assert {"serve", "demo"} <= set(told.stdout.replace("│", " ").split())


@pytest.mark.parametrize("command", ["serve", "demo"])
def test_wrong_settings_are_told_in_plain_lines_with_status_1(command):
    told = run(command, prot="1", first_key="hunter2")
    assert told.returncode == 1
    assert told.stdout == ""
    first, *problems = told.stderr.splitlines()
    assert first == "gateway: The configuration cannot be used:"
    assert [problem.split()[1] for problem in problems] == ["first_key", "prot"]
    assert "hunter2" not in told.stderr


def test_the_version_is_that_of_the_installed_package():
    told = run("--version")
    assert (told.returncode, told.stdout.strip()) == (0, importlib.metadata.version("sdnext-gateway"))


def test_without_a_command_the_help_is_shown():
    assert "serve" in run().stdout
