"""`gateway backend ...`: the SD.Next servers of the pool."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.cli.desk import Json, run, set_up, show_list, show_one
from gateway.cli.values import given, text_of
from gateway.domain.backends import Backend
from gateway.domain.forms import described
from gateway.domain.managed import KeptBackend

if TYPE_CHECKING:
    from gateway.flow.changes import Author
    from gateway.flow.manage import Manager
    from gateway.settings import Settings

app = typer.Typer(callback=set_up, help="Backends: the SD.Next servers of the pool.", no_args_is_help=True)

Ref = Annotated[str, typer.Argument(help="The backend's name.")]
Username = Annotated[str | None, typer.Option(help="The user name that the server asks for.")]
PasswordFile = Annotated[str | None, typer.Option(help="A file, or - for standard input, with the server's password.")]
Manage = Annotated[
    bool | None, typer.Option("--manage/--no-manage", help="Whether the gateway may set options there (it should).")
]


@app.command()
def add(  # noqa: PLR0913, PLR0917 - a command's options
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="What the backend is to be called.")],
    url: Annotated[str, typer.Argument(help="Where it is, such as http://host:7860.")],
    username: Username = None,
    password_file: PasswordFile = None,
    manage: Manage = None,
    as_json: Json = False,
) -> None:
    """Add a server to the pool."""

    async def work(manager: Manager, author: Author) -> KeptBackend:
        password = text_of(password_file) if password_file else ""
        backend = Backend(name, url.rstrip("/"), username or "", password, is_managed=manage is not False)
        return await manager.add_backend(author, backend)

    show_one(described(run(context, work)), as_json=as_json)


@app.command("list")
def list_all(context: typer.Context, as_json: Json = False) -> None:
    """All backends, those that the settings declare too."""
    columns = ("name", "url", "username", "is_managed", "is_declared", "is_draining")
    show_list(columns, run(context, lambda manager, _: _every(manager, declared(context))), as_json=as_json)


@app.command()
def show(context: typer.Context, backend: Ref, as_json: Json = False) -> None:
    """One backend; never its password."""

    async def work(manager: Manager, _: Author) -> dict[str, Any]:
        found = [one for one in await _every(manager, declared(context)) if one["name"] == backend]
        return found[0] if found else described(await manager.show(KeptBackend, backend))

    show_one(run(context, work), as_json=as_json)


@app.command()
def drain(context: typer.Context, backend: Ref) -> None:
    """Send no new work there, within a few seconds; what runs there ends. `gateway queue` shows when it has."""
    run(context, lambda manager, author: manager.drain(author, backend, declared(context)))
    typer.echo(f"{backend} gets no new work. When gateway queue shows it idle it can be stopped.")


@app.command()
def resume(context: typer.Context, backend: Ref) -> None:
    """Send work there again."""
    run(context, lambda manager, author: manager.resume(author, backend, declared(context)))
    typer.echo(f"{backend} gets work again.")


def declared(context: typer.Context) -> dict[str, Backend]:
    """The backends that the settings declare, by name."""
    from gateway.wiring.common import backends_of

    return backends_of(context.obj.settings())


async def _every(manager: Manager, declared: dict[str, Backend]) -> list[dict[str, Any]]:
    """Every backend as the gateways see it: a declared one counts before one of its name that was added."""
    draining = await manager.draining()
    added = {one.name: described(one) for one in await manager.all_of(KeptBackend)}
    fixed = {name: described(KeptBackend(one)) | {"created_at": None} for name, one in declared.items()}
    every = sorted({**added, **fixed}.items())
    return [told | {"is_declared": name in declared, "is_draining": name in draining} for name, told in every]


@app.command("set")
def change(  # noqa: PLR0913, PLR0917 - a command's options
    context: typer.Context,
    backend: Ref,
    url: Annotated[str | None, typer.Option(help="Where it is now.")] = None,
    username: Username = None,
    password_file: PasswordFile = None,
    manage: Manage = None,
    as_json: Json = False,
) -> None:
    """Change a backend; what is not named stays."""

    async def work(manager: Manager, author: Author) -> KeptBackend:
        password = text_of(password_file) if password_file else None
        address = url.rstrip("/") if url else None
        changes: dict[str, Any] = given(url=address, username=username, password=password, is_managed=manage)
        return await manager.change(author, (KeptBackend, backend), changes)

    show_one(described(run(context, work)), as_json=as_json)


@app.command()
def remove(context: typer.Context, backend: Ref, as_json: Json = False) -> None:
    """Take a server out of the pool, and put the options back that the gateway had set there."""
    removed = run(context, lambda manager, author: manager.remove_backend(author, backend))
    if removed.old_options:
        asyncio.run(_put_back(context.obj.settings(), removed))
    show_one(described(removed), as_json=as_json)


async def _put_back(settings: Settings, removed: KeptBackend) -> None:
    """Its options as they were, once no gateway sets them any more. What cannot be written is told."""
    from gateway.domain.errors import AttemptFailed
    from gateway.flow.roster import READ_EVERY_S
    from gateway.flow.upkeep import write_options
    from gateway.wiring.desk import open_backends

    await asyncio.sleep(2 * READ_EVERY_S)
    async with open_backends(settings) as (_, client):
        try:
            refusal = "" if await write_options(client, removed.backend, removed.old_options) else "it refused them"
        except AttemptFailed as failed:
            refusal = str(failed)
    if refusal:
        typer.echo(f"Its options could not be put back ({refusal}); set them there: old_options below.", err=True)
