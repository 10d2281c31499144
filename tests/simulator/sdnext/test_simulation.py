from __future__ import annotations

from gateway.simulator.sdnext.simulation import build_simulation
from gateway.simulator.sdnext.simulation_options import SimulationOptions


def test_two_simulated_servers_share_nothing() -> None:
    one, other = (build_simulation(SimulationOptions()) for _ in range(2))
    one.engine.server_options.set("jpeg_quality", 5)
    one.engine.shelf.delete_file("Diffusers/tiny-b")

    assert other.engine.server_options.get("jpeg_quality") == 90
    assert "Diffusers/tiny-b" in other.engine.shelf.files
