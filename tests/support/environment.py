"""The environment of the person who runs the tests must not be that of the tests."""

from __future__ import annotations

import os

import pytest


def without_settings() -> dict[str, str]:
    """This process's environment without the gateway's settings."""
    return {name: value for name, value in os.environ.items() if not name.startswith("GATEWAY_")}  # noqa: TID251


@pytest.fixture
def bare_environment(monkeypatch, tmp_path):
    """No setting comes from outside, and the current folder is empty."""
    for name in os.environ.keys() - without_settings().keys():  # noqa: TID251 - to clear them
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
