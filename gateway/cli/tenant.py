"""`gateway tenant ...`: who pays."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from gateway.cli.desk import Json, run, set_up, show_list, show_one
from gateway.cli.values import given, grants_with, new_grants
from gateway.domain.forms import described
from gateway.domain.keys import Grants
from gateway.domain.managed import STANDARD_PLAN, Tenant

app = typer.Typer(
    callback=set_up, help="Tenants: who pays, on which plan, and what their keys may use at most.", no_args_is_help=True
)

_GLOBS = "that may be used, as a glob; !GLOB denies, none is none at all; may be repeated"
Ref = Annotated[str, typer.Argument(help="The tenant's name or id.")]
Models = Annotated[list[str] | None, typer.Option("--model", help=f"Models {_GLOBS}.")]
Upscalers = Annotated[list[str] | None, typer.Option("--upscaler", help=f"Upscalers {_GLOBS}.")]
Loras = Annotated[list[str] | None, typer.Option("--lora", help=f"LoRAs {_GLOBS}.")]


@app.command()
def create(  # noqa: PLR0913, PLR0917 - a command's options
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="What the tenant is to be called.")],
    plan: Annotated[str, typer.Option(help="The plan's name.")] = STANDARD_PLAN,
    model: Models = None,
    upscaler: Upscalers = None,
    lora: Loras = None,
    as_json: Json = False,
) -> None:
    """Add a tenant."""
    grants = grants_with(Grants(), model, upscaler, lora)
    tenant = run(context, lambda manager, author: manager.create_tenant(author, name, plan, grants))
    show_one(described(tenant), as_json=as_json)


@app.command("list")
def list_all(context: typer.Context, as_json: Json = False) -> None:
    """All tenants."""
    tenants = run(context, lambda manager, _: manager.all_of(Tenant))
    show_list(("name", "plan", "id", "created_at"), [described(tenant) for tenant in tenants], as_json=as_json)


@app.command()
def show(context: typer.Context, tenant: Ref, as_json: Json = False) -> None:
    """One tenant with all there is to tell."""
    show_one(described(run(context, lambda manager, _: manager.show(Tenant, tenant))), as_json=as_json)


@app.command("set")
def change(  # noqa: PLR0913, PLR0917 - a command's options
    context: typer.Context,
    tenant: Ref,
    name: Annotated[str | None, typer.Option(help="A new name.")] = None,
    plan: Annotated[str | None, typer.Option(help="Another plan's name.")] = None,
    model: Models = None,
    upscaler: Upscalers = None,
    lora: Loras = None,
    as_json: Json = False,
) -> None:
    """Change a tenant; what is not named stays. Its keys follow within a second."""

    def changes(before: Tenant) -> dict[str, Any]:
        return given(name=name, plan=plan, grants=new_grants(before.grants, model, upscaler, lora))

    changed = run(context, lambda manager, author: manager.change(author, (Tenant, tenant), changes))
    show_one(described(changed), as_json=as_json)
