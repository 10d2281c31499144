"""`gateway db ...`: the schema of the database, what it refused to keep, and forgetting what is old."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import asdict
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli.desk import FAILED, Desk, Json, look, set_up, show_json, show_list, telling
from gateway.cli.values import date, seconds

if TYPE_CHECKING:
    from gateway.flow.prune import Pruned
    from gateway.settings import Settings
    from gateway.wiring.desk import Schema

app = typer.Typer(
    callback=set_up,
    help="The database: its schema, what it refused to keep, and forgetting what is old.",
    no_args_is_help=True,
)


class Part(StrEnum):
    """What can be forgotten by itself."""

    LEDGER = "ledger"
    AUDIT = "audit"


@app.command()
def upgrade(context: typer.Context, as_json: Json = False) -> None:
    """Bring the database to the newest schema; harmless when it is, and when a gateway does so at the same time."""
    from gateway.wiring.desk import migrate_schema

    with telling():
        before = asyncio.run(migrate_schema(context.obj.settings()))
    _show(before, "It is at the newest schema already." if before.is_newest else "Done.", as_json=as_json)


@app.command()
def check(context: typer.Context, as_json: Json = False) -> None:
    """Say what schema the database is at; status 1 if it is not the newest. Changes nothing."""
    from gateway.wiring.desk import schema_of

    with telling():
        found = asyncio.run(schema_of(context.obj.settings()))
    _show(found, "It is the newest." if found.is_newest else "Run gateway db upgrade.", as_json=as_json)
    if not found.is_newest:
        raise typer.Exit(FAILED)


@app.command()
def prune(
    context: typer.Context,
    before: Annotated[str, typer.Option(help="Forget what is older: a date (UTC), or an age such as 400d.")],
    only: Annotated[Part | None, typer.Option(help="Forget only these.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be forgotten; forget nothing.")] = False,
    as_json: Json = False,
) -> None:
    """Forget ledger records and audit entries. Before it, save what you bill by: gateway usage --csv."""
    desk: Desk = context.obj
    now = desk.now()

    async def work(settings: Settings) -> Pruned:
        from gateway.flow.changes import Author
        from gateway.wiring.desk import open_pruner

        async with open_pruner(settings) as pruner:
            moment = now - seconds(before) if before[-1:] in "smhdw" else date(before)
            if dry_run:
                return await pruner.would_prune(now, moment)
            takes = {"records": only is not Part.AUDIT, "entries": only is not Part.LEDGER}
            return await pruner.prune(Author(desk.who, now), moment, **takes)

    found = asdict(look(context, work))
    if as_json:
        show_json(found)
        return
    word = "would be forgotten" if dry_run else "forgotten"
    typer.echo(f"{found['records']} ledger records and {found['entries']} audit entries {word}.")


@app.command()
def aside(
    context: typer.Context,
    again: Annotated[
        bool, typer.Option("--again", help="Have them written again, now that the reason is gone.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Records of ended jobs that the database refused: each with the reason. None of them is in the ledger."""

    async def work(settings: Settings) -> Mapping[str, str]:
        from gateway.wiring.desk import open_outbox

        async with open_outbox(settings) as outbox:
            found = await outbox.aside()
            if again:
                await outbox.ask_again(tuple(found))
            return found

    found = look(context, work)
    rows = [{"token": token, "reason": reason} for token, reason in found.items()]
    show_list(("token", "reason"), rows, as_json=as_json)
    if again and not as_json:
        typer.echo(f"{len(rows)} records are to be written again; what is refused again is set aside again.")


def _show(schema: Schema, sentence: str, *, as_json: bool) -> None:
    if as_json:
        show_json({"current": schema.current, "newest": schema.newest, "is_newest": schema.is_newest})
    else:
        found = schema.current or "empty"
        typer.echo(f"The database was found at {found}; the newest schema is {schema.newest}. {sentence}")
