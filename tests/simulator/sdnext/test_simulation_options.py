from __future__ import annotations

import dataclasses

import pytest

from gateway.simulator.sdnext.simulation_options import SimulationOptions


def test_by_default_it_is_as_broken_as_the_real_server() -> None:
    options = SimulationOptions()

    assert (options.upscalers, options.threads, options.faults) == ("stock", 40, ())


def test_options_do_not_change_while_the_server_runs() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        SimulationOptions().time_scale = 2  # type: ignore[misc]
