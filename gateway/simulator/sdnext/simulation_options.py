"""What a simulated server is made of and how fast it is: one frozen value, given when it is built.

Nothing here changes while the server runs; what does change (files, faults, holds) goes through `/__sim/*`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from gateway.simulator.sdnext.faults import Fault

Scheduler: TypeAlias = Literal["EulerDiscrete", "PNDM"]


@dataclass(frozen=True, slots=True)
class SimulationOptions:
    """Everything that makes one simulated server differ from another.

    `models` are titles as `/sd-models` lists them (`Diffusers/tiny-a`, or `Diffusers/acme/tiny-c [0123456789]` for the
    Hugging Face cache layout); the first is loaded at the start. `new_models` and `new_loras` lie on disk but are seen
    only after a rescan. `schedulers` maps a title to the scheduler its checkpoint ships; EulerDiscrete where missing.
    `upscaler_weights` are upscalers whose weights are on disk; `upscalers="stock"` answers 500 to every upscale.
    Seconds are simulated ones: `time_scale` turns them into real ones, 0 makes everything instant. `auth` is
    `user:password`. `state_dir` keeps `config.json` and `secrets.json`, so that options survive a restart.
    With `fragile_loads` a load beside a load or a job damages the process: no later load works (observed now and then).
    `inspect` adds `/__sim/*`. `fatal_megapixels` is the size of an image under which the process dies; a generation
    whose batch is that large fails in the pipeline instead.
    """

    models: tuple[str, ...] = ("Diffusers/tiny-a", "Diffusers/tiny-b")
    new_models: tuple[str, ...] = ()
    loras: tuple[str, ...] = ()
    new_loras: tuple[str, ...] = ()
    vaes: tuple[str, ...] = ()
    schedulers: Mapping[str, Scheduler] = field(default_factory=dict)
    upscalers: Literal["stock", "fixed"] = "stock"
    upscaler_weights: frozenset[str] = frozenset()
    seconds_per_megapixel_step: float = 0.3
    swap_seconds: float = 1.7
    upscale_seconds_per_megapixel: float = 0.5
    rescan_seconds: float = 0.006
    time_scale: float = 1.0
    auth: str | None = None
    faults: tuple[Fault, ...] = ()
    fault_seed: int = 0
    state_dir: Path | None = None
    fragile_loads: bool = False
    inspect: bool = True
    port: int = 7860
    threads: int = 40
    fatal_megapixels: float = 170.0
