"""`gateway sim-backend`: one simulated SD.Next as a process."""

from __future__ import annotations

import logging
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer

from gateway.simulator.sdnext.faults import parse_fault
from gateway.simulator.sdnext.simulation_options import SimulationOptions

if TYPE_CHECKING:
    from gateway.simulator.sdnext.simulation_options import Scheduler

_Port: TypeAlias = Annotated[int, typer.Option(help="Port to listen on; 0 takes any free one.")]
_Host: TypeAlias = Annotated[str, typer.Option(help="Address to listen on.")]
_Models: TypeAlias = Annotated[str, typer.Option(help="Titles of the checkpoints, by commas; the first is loaded.")]
_New: TypeAlias = Annotated[
    list[str] | None, typer.Option(help="A checkpoint on disk that only a rescan finds. Repeatable.")
]
_Loras: TypeAlias = Annotated[str, typer.Option(help="LoRAs by commas: a name, or a folder and a name.")]
_Vae: TypeAlias = Annotated[list[str] | None, typer.Option(help="A VAE. Repeatable.")]
_Upscalers: TypeAlias = Annotated[str, typer.Option(help="stock: every upscale is 500, as in this revision; or fixed.")]
_Weights: TypeAlias = Annotated[str, typer.Option(help="Upscalers whose weights are on disk, by commas.")]
_Samplers: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(help="EulerDiscrete or PNDM for all checkpoints, or TITLE=PNDM for one. Repeatable."),
]
_Seconds: TypeAlias = Annotated[float, typer.Option(min=0, help="Simulated seconds.")]
_Scale: TypeAlias = Annotated[float, typer.Option(min=0, help="Real seconds per simulated one; 0 is instant.")]
_Auth: TypeAlias = Annotated[
    str | None, typer.Option(help="user:password for HTTP Basic; shows in ps: rather --auth-file.")
]
_AuthFile: TypeAlias = Annotated[Path | None, typer.Option(help="A file that holds user:password.", dir_okay=False)]
_Fd: TypeAlias = Annotated[int | None, typer.Option(help="Serve on this open socket.", hidden=True)]
_Faults: TypeAlias = Annotated[list[str] | None, typer.Option(help="NAME[=p][,key=value...]. Repeatable.")]
_Seed: TypeAlias = Annotated[int, typer.Option(help="Seed of the faults' dice.")]
_State: TypeAlias = Annotated[Path | None, typer.Option(help="Keep options here, so that they survive a restart.")]
_Fragile: TypeAlias = Annotated[bool, typer.Option(help="A load beside a load or a job breaks all later loads.")]
_Inspect: TypeAlias = Annotated[bool, typer.Option(help="Serve /__sim/*.")]


def sim_backend(  # noqa: PLR0913, PLR0917 - every parameter is a flag of the command
    port: _Port = 7860,
    host: _Host = "127.0.0.1",
    models: _Models = "Diffusers/tiny-a,Diffusers/tiny-b",
    new_model: _New = None,
    loras: _Loras = "",
    vae: _Vae = None,
    upscalers: _Upscalers = "stock",
    upscaler_weights: _Weights = "",
    samplers_of_checkpoint: _Samplers = None,
    seconds_per_megapixel_step: _Seconds = 0.3,
    swap_seconds: _Seconds = 1.7,
    upscale_seconds_per_megapixel: _Seconds = 0.5,
    rescan_seconds: _Seconds = 0.006,
    time_scale: _Scale = 1.0,
    auth: _Auth = None,
    auth_file: _AuthFile = None,
    fault: _Faults = None,
    fault_seed: _Seed = 0,
    state_dir: _State = None,
    fragile_loads: _Fragile = False,
    inspect: _Inspect = True,
    fd: _Fd = None,
) -> None:
    """Run a simulated SD.Next server: the same API, the same quirks, no GPU."""
    flags = dict(locals())
    try:
        options = _options(flags)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    from gateway.launcher.listening import listen
    from gateway.simulator.sdnext.listener import SimulatedServer, run_until_ended

    listening = None if fd is None else socket.socket(fileno=fd)
    if listening is None:  # so that a taken port is one clear line
        listen(host, port, remedy="--port").close()
    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)  # dropped connections are this program's business
    raise typer.Exit(run_until_ended(lambda: SimulatedServer(options, host, port, listening), typer.echo))


def _options(flags: dict[str, Any]) -> SimulationOptions:
    """What the flags say. Raises ValueError with the reason if one cannot be read."""
    titles, new = _listed(flags["models"]), tuple(flags["new_model"] or ())
    auth = flags["auth"] if flags["auth_file"] is None else _read(flags["auth_file"])
    as_they_are = (
        "seconds_per_megapixel_step",
        "swap_seconds",
        "upscale_seconds_per_megapixel",
        "rescan_seconds",
        "time_scale",
        "fault_seed",
        "state_dir",
        "fragile_loads",
        "inspect",
        "port",
    )
    return SimulationOptions(
        models=titles,
        new_models=new,
        loras=_listed(flags["loras"]),
        vaes=tuple(flags["vae"] or ()),
        auth=auth,
        schedulers=_schedulers(flags["samplers_of_checkpoint"] or [], (*titles, *new)),
        upscalers="fixed" if _one_of(flags["upscalers"], "stock", "fixed") == "fixed" else "stock",
        upscaler_weights=frozenset(_listed(flags["upscaler_weights"])),
        faults=tuple(parse_fault(text) for text in flags["fault"] or ()),
        **{name: flags[name] for name in as_they_are},
    )


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"--auth-file: {file} cannot be read; name a readable text file") from error


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
