"""What a run came to: latency, wait, swaps, utilisation and each tenant's part, as plain data and as a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich import box
from rich.table import Table

from gateway.simulator.pool.work import Done, Outcome

_LATENCIES = ("mean", "p50", "p95", "p99", "max")
_WITHOUT_DECIMALS_S = 1000.0

Summary = dict[str, Any]
"""One run as the JSON object `summarise` describes."""


def summarise(outcome: Outcome) -> Summary:
    """The run as one JSON object; seconds everywhere.

    Latency is arrival to answer, wait arrival to the grant of a GPU (its swap not included), `utilisation` the share of
    GPU time spent generating, `gpu_s` a tenant's seconds of generation without swaps. Percentiles are nearest-rank.
    """
    done = outcome.done
    return {
        "policy": outcome.policy,
        "jobs": len(done),
        "latency_s": spread([d.latency_s for d in done]),
        "wait_s": spread([d.wait_s for d in done]),
        "swaps": outcome.swaps,
        "makespan_s": round(outcome.makespan_s, 3),
        "utilisation": round(_utilisation(outcome), 4),
        "refused": len(outcome.refused),
        "tenants": _tenants(done),
    }


def spread(values: Sequence[float]) -> dict[str, float]:
    """Mean, median, 95th and 99th percentile and maximum; zeros for no values."""
    ordered = sorted(values)
    if not ordered:
        return dict.fromkeys(_LATENCIES, 0.0)
    ranks = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
    result = {"mean": sum(ordered) / len(ordered)}
    result |= {name: ordered[min(len(ordered) - 1, int(len(ordered) * q))] for name, q in ranks.items()}
    result["max"] = ordered[-1]
    return {name: round(value, 3) for name, value in result.items()}


def table(summaries: Sequence[Summary]) -> Table:
    """The runs side by side, one line a policy (or a pool size, under `backends`); it fits a terminal of 80 columns.

    Who refused nothing has no column for it.
    """
    sizes, refusals = any("backends" in s for s in summaries), any(s["refused"] for s in summaries)
    grid = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=0)
    grid.caption = "In seconds: latency from mean to max, mean wait, and when the last job ended. Busy: generating."
    if sizes:
        grid.add_column("GPUs", no_wrap=True)
    grid.add_column("policy", overflow="fold")
    for name in ("jobs", *_LATENCIES, "wait", "swaps", "end", "busy", *(["refused"] if refusals else [])):
        grid.add_column(name, justify="right", no_wrap=True)
    for s in summaries:
        grid.add_row(
            *([str(s["backends"])] if sizes else []),
            s["policy"],
            str(s["jobs"]),
            *(_seconds(s["latency_s"][key]) for key in _LATENCIES),
            _seconds(s["wait_s"]["mean"]),
            str(s["swaps"]),
            f"{s['makespan_s']:.0f}",
            f"{s['utilisation']:.0%}",
            *([str(s["refused"])] if refusals else []),
        )
    return grid


def _seconds(value: float) -> str:
    return f"{value:.1f}" if value < _WITHOUT_DECIMALS_S else f"{value:.0f}"


def _utilisation(outcome: Outcome) -> float:
    capacity_s = outcome.makespan_s * len(outcome.gpus)
    return sum(d.run_s for d in outcome.done) / capacity_s if capacity_s else 0.0


def _tenants(done: Sequence[Done]) -> dict[str, dict[str, float]]:
    by_tenant: dict[str, list[Done]] = {}
    for d in done:
        by_tenant.setdefault(d.job.tenant, []).append(d)
    return {
        tenant: {
            "jobs": len(theirs),
            "gpu_s": round(sum(d.run_s for d in theirs), 3),
            "mean_latency_s": round(sum(d.latency_s for d in theirs) / len(theirs), 3),
        }
        for tenant, theirs in sorted(by_tenant.items())
    }
