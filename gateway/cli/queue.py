"""`gateway queue`: who waits, for what, since when and why; what runs where."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import typer

from gateway.cli.desk import Json, look, set_up, show_json, show_rows
from gateway.domain.queue import BackendLine, QueueView, WaitingLine

if TYPE_CHECKING:
    from gateway.settings import Settings

app = typer.Typer(help="The queue: who waits and why, what runs where.", invoke_without_command=True)


@app.callback()
def queue(context: typer.Context, as_json: Json = False) -> None:
    """Every backend with what it does, and every waiting job with what keeps it."""
    set_up(context)

    async def work(settings: Settings) -> QueueView:
        from gateway.wiring.desk import open_onlooker

        async with open_onlooker(settings) as onlooker:
            return await onlooker.queue()

    view = look(context, work)
    if as_json:
        show_json(asdict(view))
        return
    show_rows(
        ("backend", "state", "loaded", "job", "tenant", "for_s"), [_backend(line, view.at) for line in view.backends]
    )
    typer.echo("")
    if view.waiting:
        show_rows(
            ("position", "job", "tenant", "model", "waits_s", "starts_in_s", "why"),
            [_waiting(line) for line in view.waiting],
        )
    else:
        typer.echo("Nobody waits.")


def _backend(line: BackendLine, now: float) -> dict[str, Any]:
    return {
        "backend": line.name,
        "state": "recovering" if line.is_recovering else line.state,
        "loaded": line.loaded,
        "job": line.job_id,
        "tenant": line.tenant_id,
        "for_s": round(now - line.since, 1) if line.job_id else None,
    }


def _waiting(line: WaitingLine) -> dict[str, Any]:
    return {
        "position": str(line.position),
        "job": line.job_id,
        "tenant": line.tenant_id,
        "model": line.model,
        "waits_s": round(line.waits_s, 1),
        "starts_in_s": None if line.starts_in_s is None else round(line.starts_in_s, 1),
        "why": line.why
        or "; ".join(f"{name}: {reason}" for name, reason in line.reasons.items())
        or "no backend has all of it",
    }
