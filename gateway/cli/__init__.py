"""The commands a person types. Each stands in a module of its own, which is imported when the command is typed.

A command answers at once because it imports what it needs and nothing else: heavy things are imported inside the
functions that use them.
"""

from __future__ import annotations

import gc
import sys
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from gateway.cli.desk import CONFIG
from gateway.domain.mendable import Mendable

_COLLECT_AFTER = 20_000  # objects; with Python's 700 a tenth of a command's time went into looking for garbage

# Command: where it stands. A function is one command, a Typer a group of them.
_COMMANDS = MappingProxyType(
    {
        "serve": "serve:serve",
        "demo": "demo:demo",
        "sim-backend": "sim_backend:sim_backend",
        "simulate": "simulate:simulate",
        "make-trace": "simulate:make_trace",
        "check-config": "check_config:check_config",
        "doctor": "doctor:doctor",
        "job": "job:job",
        "tenant": "tenant:app",
        "plan": "plan:app",
        "key": "key:app",
        "backend": "backend:app",
        "usage": "usage:app",
        "queue": "queue:app",
        "db": "db:app",
        "docs": "docs:app",
    }
)


class Commands(TyperGroup):
    """The whole command line, of which only what is typed is imported."""

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ANN401 - click's own context
        """Every command's name, in the order of the help."""
        return list(_COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ANN401 - click's own types
        """The command of that name, None if there is none. It takes --config as the line before it does."""
        if cmd_name not in _COMMANDS:
            return None
        module, _, name = _COMMANDS[cmd_name].partition(":")
        command = _as_command(getattr(import_module(f"gateway.cli.{module}"), name), cmd_name)
        _add([option for option in self.params if option.name == "config"], command)
        return command


def build() -> typer.Typer:
    """The command line, whole."""
    commands = typer.Typer(
        name="gateway",
        cls=Commands,
        help="A multi-tenant, API-compatible gateway in front of a pool of SD.Next servers.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,  # they would print local variables, keys among them
    )
    commands.callback()(_about)
    return commands


def main() -> None:
    """Run the command line. What the operator can mend is told in plain lines on stderr, with status 1."""
    gc.set_threshold(_COLLECT_AFTER)
    try:
        build()()
    except Mendable as error:
        sys.stderr.write(f"gateway: {error}\n")
        sys.exit(1)


def _as_command(found: Any, name: str) -> Any:  # noqa: ANN401 - a function or a Typer; click's own type
    if not isinstance(found, typer.Typer):
        function, found = found, typer.Typer(add_completion=False)
        found.command(name)(function)
    command = typer.main.get_command(found)
    command.name = name
    return command


def _add(options: list[Any], command: Any) -> None:  # noqa: ANN401 - click's own type
    command.params.extend(options)
    for inner in getattr(command, "commands", {}).values():
        _add(options, inner)


def _tell_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(version("sdnext-gateway"))
        raise typer.Exit


def _keep_config(context: typer.Context, config: Path | None) -> None:
    """Keep it where every command finds it, however deep: see `desk.config_of`."""
    if config is not None and context.meta.setdefault(CONFIG, config) != config:
        raise typer.BadParameter(f"it is given twice, as {context.meta[CONFIG]} and as {config}; keep one")


def _about(
    show_version: Annotated[
        bool, typer.Option("--version", callback=_tell_version, is_eager=True, help="Show the version and exit.")
    ] = False,
    config: Annotated[
        Path | None,
        typer.Option(
            "--config",
            callback=_keep_config,
            expose_value=False,
            help="The TOML file with the settings; may stand before or after any command.",
        ),
    ] = None,
) -> None:
    """A multi-tenant, API-compatible gateway in front of a pool of SD.Next servers."""
