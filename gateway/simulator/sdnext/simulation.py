"""One simulated server put together: its parts, and nothing else. What the routes receive."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.simulator.sdnext.clock import LoopClock
from gateway.simulator.sdnext.engine import Engine
from gateway.simulator.sdnext.facts import Facts, load_facts
from gateway.simulator.sdnext.faults import FaultTable
from gateway.simulator.sdnext.generation import Generation
from gateway.simulator.sdnext.inspection import ReceivedLog
from gateway.simulator.sdnext.limits import RateLimiter, Threads
from gateway.simulator.sdnext.simulation_options import SimulationOptions
from gateway.simulator.sdnext.upscaling import Upscaling


@dataclass(frozen=True, slots=True)
class Simulation:
    """The parts of one simulated server."""

    options: SimulationOptions
    facts: Facts
    clock: LoopClock
    engine: Engine
    generation: Generation
    upscaling: Upscaling
    threads: Threads
    limiter: RateLimiter
    faults: FaultTable
    received: ReceivedLog


def build_simulation(options: SimulationOptions) -> Simulation:
    """Put one together. Raises OSError or ValueError if its `state_dir` cannot be read."""
    facts, clock = load_facts(), LoopClock(options.time_scale)
    engine = Engine(options, facts, clock)
    return Simulation(
        options=options,
        facts=facts,
        clock=clock,
        engine=engine,
        generation=Generation(engine),
        upscaling=Upscaling(engine),
        threads=Threads(options.threads),
        limiter=RateLimiter(),
        faults=FaultTable(options.faults, options.fault_seed),
        received=ReceivedLog(clock),
    )
