"""`gateway serve`: the gateway, as one process or as a launcher with its workers."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Annotated

import typer

from gateway.settings import load_settings


def serve(
    config: Annotated[Path | None, typer.Option(help="The TOML file with the settings.")] = None,
    host: Annotated[str | None, typer.Option(help="The address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="The TCP port to listen on.")] = None,
    workers: Annotated[int | None, typer.Option(help="How many gateway processes share the port.")] = None,
    fd: Annotated[int | None, typer.Option(help="Be one worker on this open socket.", hidden=True)] = None,
) -> None:
    """Serve until SIGTERM or Ctrl-C.

    One process when a Redis is named and one worker is wanted; else a launcher, which owns the embedded Valkey and the
    workers.
    """
    settings = load_settings(config, host=host, port=port, workers=workers)
    if fd is not None:
        from gateway.launcher.worker import run_worker

        raise typer.Exit(run_worker(settings, socket.socket(fileno=fd), parent=os.getppid()))
    if settings.redis_url and settings.workers == 1:
        from gateway.launcher.listening import listen
        from gateway.launcher.worker import run_worker

        raise typer.Exit(run_worker(settings, listen(settings.host, settings.port)))
    from gateway.launcher import launch

    raise typer.Exit(launch(settings))
