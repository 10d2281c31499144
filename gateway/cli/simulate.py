"""`gateway simulate` and `gateway make-trace`: replay a trace on a pool of GPUs that need not exist.

The commands are functions for typer; whoever builds the command line registers them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from gateway.simulator.pool import engine, generate
from gateway.simulator.pool.files import UnusableFile, read_pool, read_trace
from gateway.simulator.pool.plot import svg
from gateway.simulator.pool.policies import NAMES, named
from gateway.simulator.pool.report import Summary, summarise, table
from gateway.simulator.pool.sweep import resized, sizes
from gateway.simulator.pool.work import Gpu, Job, Outcome, Tenant

_POLICIES_HELP = f"One of {', '.join(NAMES)}, or all; may be repeated."
_TRACE_HELP = "A trace (JSON lines) or a ledger export (JSON lines or .csv with entered_at, tenant, model, steps, width, height, images)."  # noqa: E501 - one sentence


def simulate(  # noqa: PLR0913, PLR0917 - each argument is one option of the command
    pool: Annotated[Path, typer.Option(help="The pool file (JSON).", exists=True, dir_okay=False)],
    trace: Annotated[Path, typer.Option(help=_TRACE_HELP, exists=True, dir_okay=False)],
    policy: Annotated[list[str] | None, typer.Option(help=_POLICIES_HELP)] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line instead of a table.")] = False,
    plot: Annotated[Path | None, typer.Option(help="Write a picture of the run as SVG.", dir_okay=False)] = None,
    backends: Annotated[str, typer.Option(help="Pool sizes to try instead: 8, 4,8 or 4..12.")] = "",
    weight: Annotated[list[str] | None, typer.Option(help="A tenant's weight, as in t0=3; may be repeated.")] = None,
    cap: Annotated[list[str] | None, typer.Option(help="A tenant's running jobs at most, as in t0=4.")] = None,
) -> None:
    """Replay a trace of jobs on a pool and say how long they would have waited."""
    try:
        gpus, jobs = read_pool(pool), read_trace(trace)
        tenants = _tenants(weight or [], cap or [])
        pools = [resized(gpus, count) for count in sizes(backends)] if backends else [gpus]
        names = _names(policy or ["gateway"])
    except (UnusableFile, ValueError) as error:
        raise typer.BadParameter(str(error)) from error
    console = Console()
    as_json = as_json or not console.is_terminal  # piped output is for programs
    if jobs.skipped:
        typer.echo(f"{jobs.skipped} lines without a model were left out", err=True)
    summaries: list[Summary] = []
    for chosen in pools:
        for name in names:
            outcome = _run(name, chosen, jobs.jobs, tenants)
            summary = summarise(outcome) | ({"backends": len(chosen)} if backends else {})
            summaries.append(summary)
            if as_json:
                typer.echo(json.dumps(summary))
            if plot is not None:
                several = len(pools) * len(names) > 1
                suffix = f"-{name}-{len(chosen)}" if several else ""
                plot.with_stem(plot.stem + suffix).write_text(svg(outcome), "utf-8")
    if not as_json:
        console.print(table(summaries))


def make_trace(  # noqa: PLR0913, PLR0917 - each argument is one option of the command
    out: Annotated[Path, typer.Argument(help="Writes OUT.pool.json and OUT.trace.jsonl.")],
    backends: int = 8,
    models: int = 30,
    tenants: int = 20,
    jobs: int = 6000,
    load: Annotated[float, typer.Option(help="Share of the pool the jobs would take if swaps were free.")] = 0.7,
    swap: Annotated[float, typer.Option(help="Seconds a swap takes.")] = 12.0,
    seed: int = 7,
    zipf: Annotated[float, typer.Option(help="Popularity falls with rank to this power; 0 is even.")] = 1.0,
    burst: Annotated[bool, typer.Option("--burst", help="Every third two minutes carry threefold arrivals.")] = False,
    flood: Annotated[bool, typer.Option("--flood", help="Tenant t0 sends blocks of 50 jobs.")] = False,
    speeds: Annotated[str, typer.Option(help="Relative slowness of the GPUs, repeated: 1,1,3.")] = "1",
    partial: Annotated[float, typer.Option(help="Share of the models each GPU has.")] = 1.0,
) -> None:
    """Write a pool and a trace made by dice; the same arguments give the same files."""
    try:
        slowness = tuple(float(part) for part in speeds.split(","))
    except ValueError as error:
        raise typer.BadParameter(f"--speeds: {error}") from error
    recipe = generate.Recipe(backends, models, tenants, jobs, load, swap, seed, zipf, burst, flood, slowness, partial)
    pool, lines = generate.make(recipe)
    Path(f"{out}.pool.json").write_text(generate.pool_text(pool), "utf-8")
    Path(f"{out}.trace.jsonl").write_text(generate.trace_text(lines), "utf-8")


def _names(asked: Sequence[str]) -> list[str]:
    names = list(NAMES) if "all" in asked else [name for text in asked for name in text.split(",")]
    unknown = [name for name in names if name not in NAMES]
    if unknown:
        raise ValueError(f'no policy "{unknown[0]}"; there are: {", ".join(NAMES)}')
    return names


def _tenants(weights: Sequence[str], caps: Sequence[str]) -> dict[str, Tenant]:
    weight_of, cap_of = dict(_pair(text) for text in weights), dict(_pair(text) for text in caps)
    return {
        name: Tenant(weight_of.get(name, 1.0), int(cap_of.get(name, Tenant().cap)))
        for name in weight_of.keys() | cap_of.keys()
    }


def _pair(text: str) -> tuple[str, float]:
    name, equals, value = text.rpartition("=")
    if not equals or not name or not value.replace(".", "", 1).isdigit() or float(value) <= 0:
        raise ValueError(f'"{text}" is not TENANT=NUMBER with a number above 0')
    return name, float(value)


def _run(name: str, gpus: Sequence[Gpu], jobs: Sequence[Job], tenants: dict[str, Tenant]) -> Outcome:
    """One policy on one pool, with a progress bar on a terminal that disappears when done."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(f"{name} on {len(gpus)} GPUs", total=len(jobs))
        policy = named(name, gpus, tenants)
        return engine.simulate(gpus, jobs, policy, lambda done: progress.update(task, completed=done))
