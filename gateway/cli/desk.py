"""What the managing commands share: opening the stores, telling errors, exit statuses, and how answers are shown.

Exit status 0: done. 1: it could not be done (no such name, a conflict, no database). 2: the command was used wrongly.
"""

from __future__ import annotations

import asyncio
import getpass
import json
import os
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from gateway.domain.errors import GatewayError, InvalidRequest

if TYPE_CHECKING:
    from gateway.flow.changes import Author
    from gateway.flow.manage import Manager
    from gateway.settings import Settings

T = TypeVar("T")
FAILED, MISUSED = 1, 2
Json = Annotated[bool, typer.Option("--json", help="Answer as JSON.")]
CONFIG = "gateway.config"  # the name in a context's `meta`, which all contexts of one command line share


@dataclass(frozen=True, slots=True)
class Desk:
    """Where the commands get their settings and the time from; `who` stands in the audit log."""

    settings: Callable[[], Settings]
    now: Callable[[], float]
    who: str


def config_of(context: typer.Context) -> Path | None:
    """The TOML file that --config names, wherever on the command line it stands."""
    return context.meta.get(CONFIG)


def set_up(context: typer.Context) -> None:
    """Take the settings of the installation that is meant, unless the caller brought a desk of its own.

    Which one that is is told on standard error, once, when the settings are first asked for.
    """
    if not isinstance(context.obj, Desk):
        from gateway.wiring.common import wall_clock

        @cache
        def settings() -> Settings:
            from gateway.cli.installation import find_installation

            found = find_installation(config_of(context))
            typer.echo(f"gateway: {found.sentence}", err=True)
            return found.settings

        context.obj = Desk(settings=settings, now=wall_clock, who=f"cli:{_user()}")


def run(context: typer.Context, work: Callable[[Manager, Author], Awaitable[T]]) -> T:
    """What `work` answers; whatever goes wrong is told in one sentence and ends the process."""
    desk: Desk = context.obj

    async def opened() -> T:
        from gateway.flow.changes import Author
        from gateway.wiring.desk import open_management

        async with open_management(desk.settings()) as manager:
            return await work(manager, Author(desk.who, desk.now()))

    with telling():
        return asyncio.run(opened())


def look(context: typer.Context, work: Callable[[Settings], Awaitable[T]]) -> T:
    """What `work` answers, for commands that look at the stores themselves; errors as in `run`."""
    desk: Desk = context.obj

    async def looked() -> T:
        return await work(desk.settings())

    with telling():
        return asyncio.run(looked())


class telling:  # noqa: N801 - reads as a verb: `with telling():`
    """Errors of the gateway raised inside become a sentence on stderr and an exit status."""

    def __enter__(self) -> None:
        """Nothing to prepare."""

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        """End the process with a sentence if an error of ours came."""
        if isinstance(error, GatewayError):
            typer.echo(f"gateway: {error}", err=True)
            raise typer.Exit(MISUSED if isinstance(error, InvalidRequest) else FAILED) from error


# --- showing -------------------------------------------------------------------------------------


def show_json(value: Any) -> None:  # noqa: ANN401 - any JSON
    """Write it as JSON, indented."""
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False))


def show_rows(columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> None:
    """Write a table: with lines at a terminal that is wide enough, else aligned text, which no width cuts off."""
    cells = [[cell(column, row.get(column)) for column in columns] for row in rows]
    if not (sys.stdout.isatty() and _drawn(columns, cells)):
        typer.echo(_aligned([list(columns), *cells]))


def _drawn(columns: Sequence[str], cells: Sequence[Sequence[str]]) -> bool:
    """Draw the table with lines; False, and nothing is drawn, where the terminal is too narrow for it."""
    from rich.console import Console
    from rich.table import Table

    console, table = Console(markup=False, highlight=False), Table(*columns)
    for row in cells:
        table.add_row(*row)
    if console.measure(table, options=console.options.update(max_width=sys.maxsize)).maximum > console.width:
        return False
    console.print(table)
    return True


def show_one(thing: Mapping[str, Any], *, as_json: bool) -> None:
    """Write one thing, a line for each of its fields."""
    if as_json:
        show_json(thing)
    else:
        show_rows(("field", "value"), [{"field": name, "value": cell(name, value)} for name, value in thing.items()])


def show_list(columns: Sequence[str], things: Sequence[Mapping[str, Any]], *, as_json: bool) -> None:
    """Write many: these columns of them, or everything there is as JSON."""
    if as_json:
        show_json(things)
    else:
        show_rows(columns, things)


def cell(name: str, value: Any) -> str:  # noqa: ANN401 - any JSON
    """A value as people read it: times as dates in UTC, nothing as "-", lists with commas."""
    if value is None or value == "" or value in ([], {}):
        return "-"
    if name.endswith(("_at", "_until")) or name == "at":
        return datetime.fromtimestamp(value, UTC).strftime("%Y-%m-%d %H:%M:%S")
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.3f}".rstrip("0").rstrip(".")
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return ", ".join(value)
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _aligned(lines: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    padded = ("  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)) for line in lines)
    return "\n".join(line.rstrip() for line in padded)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user often has no name
        return f"uid {os.getuid()}"
