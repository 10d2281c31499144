"""`gateway job ID`: where a job is or was, and why there."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli.desk import FAILED, Json, look, set_up, show_json, show_one
from gateway.domain.queue import JobLine
from gateway.domain.usage import Record

if TYPE_CHECKING:
    from gateway.settings import Settings


def job(
    context: typer.Context,
    job_id: Annotated[str, typer.Argument(metavar="ID", help="The job's id, from X-Job-Id or the log.")],
    as_json: Json = False,
) -> None:
    """Where a job is or was, why there, and its record. Status 1 if nobody knows it."""
    set_up(context)

    async def work(settings: Settings) -> tuple[JobLine | None, Record | None]:
        from gateway.wiring.desk import open_onlooker

        async with open_onlooker(settings) as onlooker:
            return await onlooker.job(job_id)

    line, record = look(context, work)
    if line is None and record is None:
        typer.echo(f"gateway: nobody knows the job {job_id}. Copy its id from X-Job-Id or the log.", err=True)
        raise typer.Exit(FAILED)
    if as_json:
        show_json({"job": line and asdict(line), "record": record and asdict(record)})
        return
    now = asdict(line) if line else {}
    kept = {**asdict(record), "queue_s": record.queue_s} if record else {}
    show_one({name: value for name, value in {**now, **kept}.items() if value not in ("", 0.0, None)}, as_json=False)
