"""`gateway doctor`: every backend as the gateway would see it, and what must be changed there."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli.desk import FAILED, Desk, Json, set_up, show_json, show_rows, telling

if TYPE_CHECKING:
    from gateway.flow.examine import Finding

LookOnly = Annotated[bool, typer.Option("--look-only", help="Make no picture and no upscale on the backends.")]


def doctor(context: typer.Context, look_only: LookOnly = False, as_json: Json = False) -> None:
    """Look at every backend as the gateway would and say what to change; status 1 if something must be.

    Each backend is asked for its lists and, unless --look-only is given, for a picture of 64x64 in four steps and a
    small upscale, in its turn among the jobs of a gateway that serves. Nothing is changed. Backends are those of the
    configuration and those added by command.
    """
    set_up(context)
    desk: Desk = context.obj
    with telling():
        findings = asyncio.run(_examined(desk, with_pictures=not look_only))
    rows = [
        {"backend": one.backend, "check": one.check, "verdict": one.verdict.value, "what": one.sentence}
        for one in findings
    ]
    if as_json:
        show_json(rows)
    elif rows:
        show_rows(("backend", "check", "verdict", "what"), rows)
    else:
        typer.echo("There is no backend: gateway backend add NAME URL, or GATEWAY_BACKENDS.", err=True)
    if not rows or any(row["verdict"] == "change" for row in rows):
        raise typer.Exit(FAILED)


async def _examined(desk: Desk, *, with_pictures: bool) -> list[Finding]:
    """What was found, backend by backend; all backends are looked at together."""
    from gateway.flow.examine import Examiner, no_gateway
    from gateway.wiring.desk import open_backends, open_slots

    settings = desk.settings()
    async with AsyncExitStack() as stack:
        backends, client = await stack.enter_async_context(open_backends(settings))
        slot = await stack.enter_async_context(open_slots(settings, client)) if with_pictures else no_gateway
        examiner = Examiner(client, desk.now(), slot)

        async def look(name: str) -> list[Finding]:
            return [one async for one in examiner.examine(backends[name], with_pictures=with_pictures)]

        return [one for found in await asyncio.gather(*map(look, sorted(backends))) for one in found]
