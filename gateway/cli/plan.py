"""`gateway plan ...`: limits and weight of tenants."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli.desk import Json, run, set_up, show_list, show_one
from gateway.cli.values import limits
from gateway.domain.forms import described
from gateway.domain.managed import KeptPlan
from gateway.domain.plans import Caps, Plan

if TYPE_CHECKING:
    from gateway.flow.changes import Author
    from gateway.flow.manage import Manager

app = typer.Typer(callback=set_up, help="Plans: limits and weight of tenants.", no_args_is_help=True)

_LIMITS = tuple(part.name for kind in (Plan, Caps) for part in fields(kind) if part.name not in ("name", "caps"))
_COLUMNS = ("name", "requests_per_minute", "burst", "max_concurrency", "max_queued", "max_wait_s", "weight")
Ref = Annotated[str, typer.Argument(help="The plan's name.")]
Words = Annotated[list[str] | None, typer.Argument(help=f"Limits as name=value: {', '.join(_LIMITS)}.")]


@app.command()
def create(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="What the plan is to be called.")],
    limit: Words = None,
    as_json: Json = False,
) -> None:
    """Add a plan: the standard one's limits as they come with the gateway, but for those given as name=value."""

    async def work(manager: Manager, author: Author) -> KeptPlan:
        return await manager.create_plan(author, name, limits(limit or (), _LIMITS))

    show_one(described(run(context, work)), as_json=as_json)


@app.command("list")
def list_all(context: typer.Context, as_json: Json = False) -> None:
    """All plans."""
    plans = run(context, lambda manager, _: manager.all_of(KeptPlan))
    show_list(_COLUMNS, [described(plan) for plan in plans], as_json=as_json)


@app.command()
def show(context: typer.Context, plan: Ref, as_json: Json = False) -> None:
    """One plan with all its limits."""
    show_one(described(run(context, lambda manager, _: manager.show(KeptPlan, plan))), as_json=as_json)


@app.command("set")
def change(context: typer.Context, plan: Ref, limit: Words = None, as_json: Json = False) -> None:
    """Change limits given as name=value (`none` ends a quota); the others stay. Its tenants follow within a second."""

    async def work(manager: Manager, author: Author) -> KeptPlan:
        return await manager.change(author, (KeptPlan, plan), limits(limit or (), _LIMITS))

    show_one(described(run(context, work)), as_json=as_json)
