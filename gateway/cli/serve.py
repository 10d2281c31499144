"""`gateway serve`: the gateway, as one process or as a launcher with its workers."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Annotated

import typer

from gateway.cli.desk import config_of
from gateway.settings import load_settings


def serve(
    context: typer.Context,
    host: Annotated[str | None, typer.Option(help="The address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="The TCP port to listen on.")] = None,
    workers: Annotated[int | None, typer.Option(help="How many gateway processes share the port.")] = None,
    fd: Annotated[int | None, typer.Option(help="Be one worker on this open socket.", hidden=True)] = None,
    channel_fd: Annotated[int | None, typer.Option(help="Take the settings from this socket.", hidden=True)] = None,
) -> None:
    """Serve until SIGTERM or Ctrl-C.

    One process when a Redis is named and one worker is wanted; else a launcher, which owns the embedded Valkey and the
    workers.
    """
    if fd is not None:
        raise typer.Exit(_as_worker(fd, channel_fd, config_of(context)))
    settings = load_settings(config_of(context), host=host, port=port, workers=workers)
    if settings.redis_url and settings.workers == 1:
        from gateway.launcher.listening import address_of, listen
        from gateway.launcher.worker import run_worker
        from gateway.running import recorded

        listener = listen(settings.host, settings.port)
        with recorded(settings, address_of(listener)):
            raise typer.Exit(run_worker(settings, listener))
    from gateway.launcher import launch

    raise typer.Exit(launch(settings))


def _as_worker(fd: int, channel_fd: int | None, config: Path | None) -> int:
    """Serve on the launcher's socket, with the settings that come over its channel; the exit status."""
    from gateway.launcher.worker import run_worker

    listener, parent = socket.socket(fileno=fd), os.getppid()
    if channel_fd is None:
        return run_worker(load_settings(config), listener, parent)
    from gateway.handover import taken_over
    from gateway.launcher.channel import WorkerEnd

    channel = WorkerEnd(channel_fd)
    return run_worker(taken_over(channel.receive()), listener, parent, channel.tell)
