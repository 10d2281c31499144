"""`gateway usage`: sums over the ledger."""

from __future__ import annotations

import csv
import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.cli.chart import chart as drawn
from gateway.cli.chart import measures
from gateway.cli.desk import FAILED, Json, look, run, set_up, show_json, show_one, show_rows
from gateway.cli.values import date, seconds
from gateway.domain.errors import InvalidRequest
from gateway.domain.reconciliation import Reconciliation
from gateway.domain.reports import Grouping, UsageQuestion, UsageRow

if TYPE_CHECKING:
    from gateway.flow.changes import Author
    from gateway.flow.manage import Manager
    from gateway.settings import Settings

app = typer.Typer(help="Usage: jobs, images and GPU-seconds from the ledger.", invoke_without_command=True)

_FAR = 1e11  # later than any record


@app.callback()
def usage(  # noqa: PLR0913, PLR0917 - a command's options
    context: typer.Context,
    by: Annotated[list[Grouping] | None, typer.Option(help="What a row is about; may be repeated.")] = None,
    since: Annotated[str, typer.Option(help="Jobs that entered since: 30d ago, or a date (UTC).")] = "30d",
    until: Annotated[str | None, typer.Option(help="Jobs that entered before this date (UTC).")] = None,
    tenant: Annotated[str, typer.Option(help="Only this tenant's, by name or id.")] = "",
    key: Annotated[str, typer.Option(help="Only this key's, by id, prefix or TENANT/NAME.")] = "",
    model: Annotated[str, typer.Option(help="Only this model's, by its title.")] = "",
    as_json: Json = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Answer as CSV.")] = False,
    chart: Annotated[bool, typer.Option("--chart", help="Answer as bars, by day unless told otherwise.")] = False,
    of: Annotated[str, typer.Option(help="What the bars show: gpu_seconds, images, jobs, ...")] = "gpu_seconds",
) -> None:
    """Sums over the jobs of a time, by tenant unless told otherwise."""
    set_up(context)
    if context.invoked_subcommand is not None:
        return
    groups = tuple(by or (Grouping.DAY if chart else Grouping.TENANT,))

    async def work(manager: Manager, author: Author) -> list[UsageRow]:
        if as_json + as_csv + chart > 1:
            raise InvalidRequest("Choose one of --json, --csv and --chart.")
        if of not in measures():
            raise InvalidRequest(f'"{of}" is nothing to draw; choose one of {", ".join(measures())}.')
        begin = author.now - seconds(since) if since[-1:] in "smhdw" else date(since)
        end = date(until) if until else _FAR
        return await manager.usage(UsageQuestion(groups, begin, end, tenant, key, model))

    rows = run(context, work)
    if chart:
        _draw(groups, rows, of)
    else:
        _show(groups, rows, as_json=as_json, as_csv=as_csv)


@app.command()
def reconcile(context: typer.Context, as_json: Json = False) -> None:
    """Compare admitted jobs with records; status 1 unless the difference is 0."""
    set_up(context)

    async def work(settings: Settings) -> Reconciliation:
        from gateway.wiring.desk import open_reconciler

        async with open_reconciler(settings) as reconciler:
            return await reconciler.reconcile()

    found = look(context, work)
    shown = {"since_at": found.since, **{n: v for n, v in asdict(found).items() if n != "since"}}
    show_one({**shown, "difference": found.difference}, as_json=as_json)
    if found.difference:
        raise typer.Exit(FAILED)


def _show(groups: Sequence[Grouping], rows: Sequence[UsageRow], *, as_json: bool, as_csv: bool) -> None:
    flat = [_flat(groups, row) for row in rows]
    columns = [*groups, *(name for name in UsageRow.__dataclass_fields__ if name != "groups")]
    if as_json:
        show_json(flat)
    elif as_csv:
        writer = csv.DictWriter(sys.stdout, columns)
        writer.writeheader()
        writer.writerows(flat)
    else:
        show_rows(columns, flat)


def _draw(groups: Sequence[Grouping], rows: Sequence[UsageRow], measure: str) -> None:
    from rich.console import Console

    Console(highlight=False).print(drawn(groups, rows, measure))


def _flat(groups: Sequence[Grouping], row: UsageRow) -> dict[str, Any]:
    sums = {name: value for name, value in asdict(row).items() if name != "groups"}
    return {**dict(zip(map(str, groups), row.groups, strict=True)), **sums}
