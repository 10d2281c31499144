"""`gateway key ...`: credentials of tenants. A secret is written once, by create and rotate, and kept nowhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.cli.desk import Json, run, set_up, show_json, show_list, show_one
from gateway.cli.tenant import Loras, Models, Upscalers
from gateway.cli.values import given, grants_with, json_of, moment, new_grants, seconds, text_of
from gateway.domain.forms import described, overrides_of_json
from gateway.domain.keys import Grants
from gateway.domain.managed import Key, Tenant
from gateway.domain.overrides import Overrides

if TYPE_CHECKING:
    from gateway.flow.changes import Author
    from gateway.flow.credentials import Issued
    from gateway.flow.manage import Manager

app = typer.Typer(callback=set_up, help="Keys: credentials of tenants.", no_args_is_help=True)

_COLUMNS = ("tenant", "name", "prefix", "id", "created_at", "expires_at", "revoked_at")
_UNTOLD = "Running gateways could not be told yet; they take the change up when their key cache ends."
Ref = Annotated[str, typer.Argument(help="The key's id, its prefix, or TENANT/NAME.")]
Expires = Annotated[str | None, typer.Option(help="When it ends: 30d, 2027-01-31, 2027-01-31T12:00Z or never.")]
OverridesJson = Annotated[
    str | None,
    typer.Option(
        "--overrides",
        help='JSON, @file or -: {"steps": 20} forces; or any of {"force", "default", "forbid", "minimum", "maximum"}.',
    ),
]
DefaultModel = Annotated[str | None, typer.Option(help="The model for calls that name none.")]
Addresses = Annotated[
    list[str] | None, typer.Option("--address", help="An address or network it may be used from; may be repeated.")
]
TenantRef = Annotated[str, typer.Argument(help="The tenant's name or id.")]
NewName = Annotated[str, typer.Argument(help="What the key is to be called, for its tenant.")]
Rename = Annotated[str | None, typer.Option("--name", help="A new name.")]
AnyAddress = Annotated[bool, typer.Option("--any-address", help="It may be used from anywhere again.")]
SecretFile = Annotated[str | None, typer.Option(help="A file, or -, with the secret to use; else one is minted.")]
AllowsPath = Annotated[
    bool | None, typer.Option("--allow-path/--no-allow-path", help="Whether it may stand in a path, as /k/KEY/...")
]


@app.command()
def create(  # noqa: PLR0913, PLR0917 - a command's options
    context: typer.Context,
    tenant: TenantRef,
    name: NewName,
    expires: Expires = None,
    overrides: OverridesJson = None,
    model: Models = None,
    upscaler: Upscalers = None,
    lora: Loras = None,
    default_model: DefaultModel = None,
    address: Addresses = None,
    allow_path: AllowsPath = None,
    secret_file: SecretFile = None,
    as_json: Json = False,
) -> None:
    """Add a key and write its secret, once."""

    async def work(manager: Manager, author: Author) -> Issued:
        from gateway.flow.credentials import KeyRequest

        request = KeyRequest(
            tenant=tenant,
            name=name,
            secret=text_of(secret_file) if secret_file else "",
            expires_at=moment(expires, author.now) if expires else None,
            grants=grants_with(Grants(), model, upscaler, lora),
            overrides=_overrides(overrides) or Overrides(),
            default_model=default_model or "",
            addresses=tuple(address or ()),
            allows_path=bool(allow_path),
        )
        return await manager.credentials.create_key(author, request)

    _show_issued(run(context, work), as_json=as_json)


@app.command("list")
def list_all(
    context: typer.Context,
    tenant: Annotated[str | None, typer.Argument(help="Only this tenant's, by name or id.")] = None,
    as_json: Json = False,
) -> None:
    """Keys without their secrets: all, or a tenant's."""

    async def work(manager: Manager, _: Author) -> list[dict[str, Any]]:
        keys = await (manager.keys_of(tenant) if tenant else manager.all_of(Key))
        names = {owner.id: owner.name for owner in await manager.all_of(Tenant)}
        told = [{"tenant": names[key.tenant_id], **described(key)} for key in keys]
        return sorted(told, key=lambda key: (key["tenant"], key["name"]))

    show_list(_COLUMNS, run(context, work), as_json=as_json)


@app.command()
def show(context: typer.Context, key: Ref, as_json: Json = False) -> None:
    """One key with all there is to tell; never its secret."""

    async def work(manager: Manager, _: Author) -> dict[str, Any]:
        found = await manager.show(Key, key)
        return {"tenant": (await manager.show(Tenant, found.tenant_id)).name, **described(found)}

    show_one(run(context, work), as_json=as_json)


@app.command("set")
def change(  # noqa: PLR0913, PLR0917 - a command's options
    context: typer.Context,
    key: Ref,
    name: Rename = None,
    expires: Expires = None,
    overrides: OverridesJson = None,
    model: Models = None,
    upscaler: Upscalers = None,
    lora: Loras = None,
    default_model: DefaultModel = None,
    address: Addresses = None,
    any_address: AnyAddress = False,
    allow_path: AllowsPath = None,
    as_json: Json = False,
) -> None:
    """Change a key; what is not named stays. It takes effect within a second."""

    async def work(manager: Manager, author: Author) -> Key:
        changes = given(
            name=name,
            overrides=_overrides(overrides),
            default_model=default_model,
            addresses=() if any_address else tuple(address) if address else None,
            allows_path=allow_path,
        )
        if expires:
            changes["expires_at"] = moment(expires, author.now)

        def onto(before: Key) -> dict[str, Any]:
            return {**changes, **given(grants=new_grants(before.grants, model, upscaler, lora))}

        return await manager.change(author, (Key, key), onto)

    show_one(described(run(context, work)), as_json=as_json)


@app.command()
def rotate(
    context: typer.Context,
    key: Ref,
    overlap: Annotated[str, typer.Option(help="How long the secret before still works: 24h, 15m, 0.")] = "24h",
    as_json: Json = False,
) -> None:
    """Give a key a new secret and write it, once; everything else about the key stays."""

    async def work(manager: Manager, author: Author) -> Issued:
        return await manager.credentials.rotate_key(author, key, seconds(overlap))

    _show_issued(run(context, work), as_json=as_json)


@app.command()
def revoke(context: typer.Context, key: Ref, as_json: Json = False) -> None:
    """End a key for good, within a second."""
    revoked = run(context, lambda manager, author: manager.credentials.revoke_key(author, key))
    show_one(described(revoked), as_json=as_json)


def _overrides(text: str | None) -> Overrides | None:
    return None if text is None else overrides_of_json(json_of(text, "overrides"))


def _show_issued(issued: Issued, *, as_json: bool) -> None:
    told = described(issued.thing)
    if as_json:
        show_json({"secret": issued.secret, **told})
    else:
        show_one(told, as_json=False)
        typer.echo(f"\nsecret: {issued.secret}\nIt is shown this once only and cannot be had again.")
    if not issued.is_announced:
        typer.echo(f"gateway: {_UNTOLD}", err=True)
