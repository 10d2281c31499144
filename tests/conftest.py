"""Fixtures and hooks of the whole suite."""

from __future__ import annotations

import asyncio
import signal

import hypothesis
import pytest

from tests.support.pools import Pool
from tests.support.processes import gateways, no_child_left
from tests.support.report import pytest_terminal_summary
from tests.support.valkey import valkey, valkey_process
from tests.support.virtual_time import HandSetLoop, VirtualTimeLoop

__all__ = ["gateways", "no_child_left", "pytest_terminal_summary", "valkey", "valkey_process"]


def pytest_addoption(parser):
    parser.addoption("--fast", action="store_true", help="only what starts no process")
    parser.addoption("--bodies", type=int, default=400, help="how many hostile bodies are sent")
    parser.addoption("--bodies-seed", type=int, default=7, help="the dice they are made with")
    parser.addoption("--all-framings", action="store_true", help="raw HTTP in all its forms, not some of them")
    parser.addoption("--pictures", type=int, default=300, help="how many broken and forged pictures are tried")
    parser.addoption("--away", type=float, default=0.0, help="seconds that the store is away; 0: a little over a lease")
    parser.addoption("--chaos-jobs", type=int, default=500, help="how many jobs go through the chaos")
    parser.addoption("--chaos-seed", type=int, default=7, help="the dice of the chaos")


def pytest_configure(config):
    # Hypothesis fails an example that takes 200 ms, and a test whose data are made slowly: both tell how busy we are.
    patient = {"deadline": None, "suppress_health_check": [hypothesis.HealthCheck.too_slow]}
    hypothesis.settings.register_profile("patient", **patient)
    hypothesis.settings.load_profile("patient")
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # nohup has it ignored, by children too; tests say what it does
    config.addinivalue_line("markers", "virtual_time: runs on a loop whose clock jumps to the next timer")
    config.addinivalue_line("markers", "hand_set_time: runs on a loop whose clock the test stops and puts forward")


def pytest_asyncio_loop_factories(config, item):
    """Which loop a test runs on: one with the clock that it is marked with, asyncio's own for all others."""
    if item.get_closest_marker("virtual_time"):
        return {"virtual_time": VirtualTimeLoop}
    if item.get_closest_marker("hand_set_time"):
        return {"hand_set_time": HandSetLoop}
    return {"asyncio": asyncio.SelectorEventLoop}


@pytest.fixture
def pool(gateways, valkey) -> Pool:
    """Add backends, start, and ask: a whole gateway on a real Valkey of its own."""
    return Pool(gateways, valkey)
