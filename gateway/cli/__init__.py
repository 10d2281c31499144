"""The commands a person types. Each stands in a module of its own and is registered in `build`.

What a command imports at its head is paid for by all of them, at every start of a worker: heavy things are imported
inside the commands.
"""

from __future__ import annotations

import sys
from importlib.metadata import version
from typing import Annotated

import typer

from gateway.cli import backend, db, docs, key, plan, queue, tenant, usage
from gateway.cli.check_config import check_config
from gateway.cli.demo import demo
from gateway.cli.doctor import doctor
from gateway.cli.job import job
from gateway.cli.serve import serve
from gateway.cli.sim_backend import sim_backend
from gateway.cli.simulate import make_trace, simulate
from gateway.launcher.embedded import ValkeyNotStarted
from gateway.launcher.listening import PortUnavailable
from gateway.settings import SettingsError


def build() -> typer.Typer:
    """The command line, whole."""
    commands = typer.Typer(
        name="gateway",
        help="A multi-tenant, API-compatible gateway in front of a pool of SD.Next servers.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,  # they would print local variables, keys among them
    )
    commands.callback()(_about)
    commands.command()(serve)
    commands.command()(demo)
    commands.command()(sim_backend)
    commands.command()(simulate)
    commands.command()(make_trace)
    commands.command()(check_config)
    commands.command()(doctor)
    commands.command()(job)
    for name, group in {
        "tenant": tenant,
        "plan": plan,
        "key": key,
        "backend": backend,
        "usage": usage,
        "queue": queue,
        "db": db,
        "docs": docs,
    }.items():
        commands.add_typer(group.app, name=name)
    return commands


def main() -> None:
    """Run the command line. What the operator can mend is told in plain lines on stderr, with status 1."""
    try:
        build()()
    except (SettingsError, PortUnavailable, ValkeyNotStarted) as error:
        sys.stderr.write(f"gateway: {error}\n")
        sys.exit(1)


def _tell_version(wanted: bool) -> None:
    if wanted:
        typer.echo(version("sdnext-gateway"))
        raise typer.Exit


def _about(
    show_version: Annotated[
        bool, typer.Option("--version", callback=_tell_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """A multi-tenant, API-compatible gateway in front of a pool of SD.Next servers."""
