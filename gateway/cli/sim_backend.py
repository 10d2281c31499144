"""`gateway sim-backend`: one simulated SD.Next as a process."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.simulator.sdnext.faults import parse_fault
from gateway.simulator.sdnext.simulation_options import SimulationOptions

if TYPE_CHECKING:
    from gateway.simulator.sdnext.simulation_options import Scheduler


def sim_backend(  # noqa: PLR0913, PLR0917 - every parameter is a flag of the command
    port: Annotated[int, typer.Option(help="Port to listen on; 0 takes any free one.")] = 7860,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    models: Annotated[
        str, typer.Option(help="Titles of the checkpoints, by commas; the first is loaded.")
    ] = "Diffusers/tiny-a,Diffusers/tiny-b",
    new_model: Annotated[
        list[str] | None, typer.Option(help="A checkpoint on disk that only a rescan finds. Repeatable.")
    ] = None,
    loras: Annotated[str, typer.Option(help="LoRAs by commas: a name, or a folder and a name.")] = "",
    vae: Annotated[list[str] | None, typer.Option(help="A VAE. Repeatable.")] = None,
    upscalers: Annotated[
        str, typer.Option(help="stock (every upscale is 500, as in this revision) or fixed.")
    ] = "stock",
    upscaler_weights: Annotated[str, typer.Option(help="Upscalers whose weights are on disk, by commas.")] = "",
    samplers_of_checkpoint: Annotated[
        list[str] | None,
        typer.Option(help="EulerDiscrete or PNDM for all checkpoints, or TITLE=PNDM for one. Repeatable."),
    ] = None,
    seconds_per_megapixel_step: Annotated[float, typer.Option(min=0)] = 0.3,
    swap_seconds: Annotated[float, typer.Option(min=0)] = 1.7,
    upscale_seconds_per_megapixel: Annotated[float, typer.Option(min=0)] = 0.5,
    rescan_seconds: Annotated[float, typer.Option(min=0)] = 0.006,
    time_scale: Annotated[float, typer.Option(min=0, help="Real seconds per simulated one; 0 is instant.")] = 1.0,
    auth: Annotated[str | None, typer.Option(help="user:password for HTTP Basic.")] = None,
    fault: Annotated[list[str] | None, typer.Option(help="NAME[=p][,key=value...]. Repeatable.")] = None,
    fault_seed: Annotated[int, typer.Option(help="Seed of the faults' dice.")] = 0,
    state_dir: Annotated[Path | None, typer.Option(help="Keep options here, so that they survive a restart.")] = None,
    inspect: Annotated[bool, typer.Option(help="Serve /__sim/*.")] = True,
) -> None:
    """Run a simulated SD.Next server: the same API, the same quirks, no GPU."""
    from gateway.simulator.sdnext.listener import serve_until_ended

    titles = _listed(models)
    try:
        options = SimulationOptions(
            models=titles,
            new_models=tuple(new_model or ()),
            loras=_listed(loras),
            vaes=tuple(vae or ()),
            schedulers=_schedulers(samplers_of_checkpoint or [], (*titles, *(new_model or ()))),
            upscalers="fixed" if _one_of(upscalers, "stock", "fixed") == "fixed" else "stock",
            upscaler_weights=frozenset(_listed(upscaler_weights)),
            seconds_per_megapixel_step=seconds_per_megapixel_step,
            swap_seconds=swap_seconds,
            upscale_seconds_per_megapixel=upscale_seconds_per_megapixel,
            rescan_seconds=rescan_seconds,
            time_scale=time_scale,
            auth=auth,
            faults=tuple(parse_fault(text) for text in fault or ()),
            fault_seed=fault_seed,
            state_dir=state_dir,
            inspect=inspect,
            port=port,
        )
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)  # dropped connections are this program's business
    raise typer.Exit(asyncio.run(serve_until_ended(options, host, port, announce=typer.echo)))


def _listed(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _one_of(value: str, *allowed: str) -> str:
    if value not in allowed:
        raise ValueError(f"{value!r} is none of {', '.join(allowed)}")
    return value


def _schedulers(texts: list[str], titles: tuple[str, ...]) -> dict[str, Scheduler]:
    found: dict[str, Scheduler] = {}
    for text in texts:
        title, separator, name = text.rpartition("=")
        kind: Scheduler = "PNDM" if _one_of(name, "EulerDiscrete", "PNDM") == "PNDM" else "EulerDiscrete"
        found.update(dict.fromkeys((title,) if separator else titles, kind))
    return found
