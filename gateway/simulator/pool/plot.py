"""A picture of one run as SVG, without any plotting library: wait over time, what each GPU did, latency by tenant.

Everything is text a browser draws; the colours of checkpoints are spread over the circle by their popularity.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from html import escape

from gateway.simulator.pool.report import spread
from gateway.simulator.pool.work import Done, Outcome

_WIDTH, _LEFT, _RIGHT = 1200, 90, 20
_WAIT_HEIGHT, _ROW, _BAR, _GAP = 220, 18, 16, 60
_BUCKETS = 300
_MOST_TENANTS = 30
_GOLDEN_ANGLE = 137.508


def svg(outcome: Outcome) -> str:
    """The three pictures below each other, as one SVG document."""
    end_s = max(outcome.makespan_s, 1.0)
    top = 40
    wait = _wait_over_time(outcome.done, end_s, top)
    top += _WAIT_HEIGHT + _GAP
    lanes = _timeline(outcome, end_s, top)
    top += _ROW * len(outcome.gpus) + _GAP
    tenants, height = _by_tenant(outcome.done, top)
    style = "text{font:11px sans-serif;fill:#222}.h{font-size:14px;font-weight:bold}.g{stroke:#ddd}"
    title = f"{outcome.policy}: {len(outcome.done)} jobs, {len(outcome.gpus)} GPUs, {outcome.swaps} swaps"
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height}">',
            f"<style>{style}</style>",
            f'<rect width="{_WIDTH}" height="{height}" fill="#fff"/>',
            _text(_LEFT, 20, title, "h"),
            *wait,
            *lanes,
            *tenants,
            "</svg>\n",
        ]
    )


def _x(seconds: float, end_s: float) -> float:
    return _LEFT + (_WIDTH - _LEFT - _RIGHT) * seconds / end_s


def _text(x: float, y: float, words: str, name: str = "", anchor: str = "start") -> str:
    kind = f' class="{name}"' if name else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{kind}>{escape(words)}</text>'


def _wait_over_time(done: Sequence[Done], end_s: float, top: int) -> list[str]:
    """Mean and longest wait of the jobs that arrived in each slice of time."""
    slices: list[list[float]] = [[] for _ in range(_BUCKETS)]
    for d in done:
        slices[min(_BUCKETS - 1, int(d.job.arrived_at / end_s * _BUCKETS))].append(d.wait_s)
    highest = max((max(s) for s in slices if s), default=1.0) or 1.0
    bottom = top + _WAIT_HEIGHT

    def line(pick: str, colour: str) -> str:
        points = []
        for i, waits in enumerate(slices):
            if waits:
                value = max(waits) if pick == "longest" else sum(waits) / len(waits)
                y = bottom - (_WAIT_HEIGHT - 20) * value / highest
                points.append(f"{_x((i + 0.5) * end_s / _BUCKETS, end_s):.1f},{y:.1f}")
        return f'<polyline fill="none" stroke="{colour}" points="{" ".join(points)}"/>'

    marks = [_text(_LEFT, top + 10, "wait by arrival, s: mean (blue), longest (grey)", "h")]
    for part in (0.0, 0.5, 1.0):
        y = bottom - (_WAIT_HEIGHT - 20) * part
        marks.append(f'<line class="g" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        marks.append(_text(_LEFT - 6, y + 4, f"{highest * part:.0f}", anchor="end"))
    return [*marks, line("longest", "#bbb"), line("mean", "#06c"), *_time_axis(end_s, bottom)]


def _time_axis(end_s: float, y: float) -> list[str]:
    return [_text(_x(end_s * k / 6, end_s), y + 16, f"{end_s * k / 6:.0f} s", anchor="middle") for k in range(7)]


def _colours(done: Sequence[Done]) -> dict[str, str]:
    ranked = [model for model, _ in Counter(d.job.model for d in done).most_common()]
    return {m: f"hsl({i * _GOLDEN_ANGLE % 360:.0f} 65% {50 + 12 * (i // 8 % 3)}%)" for i, m in enumerate(ranked)}


def _timeline(outcome: Outcome, end_s: float, top: int) -> list[str]:
    """One row a GPU: its jobs in the colour of their checkpoint, its swaps black, idleness white."""
    colours = _colours(outcome.done)
    parts = [_text(_LEFT, top - 8, "GPUs: colour = checkpoint, black = swap, white = idle", "h")]
    for i, gpu in enumerate(outcome.gpus):
        parts.append(_text(_LEFT - 6, top + i * _ROW + 12, gpu.name, anchor="end"))
    runs: dict[tuple[int, float], tuple[float, str]] = {}
    last: dict[int, tuple[int, float]] = {}
    for d in sorted(outcome.done, key=lambda d: d.started_at):
        begin = d.started_at + d.swap_s
        key = last.get(d.gpu)
        if key is not None and runs[key][1] == d.job.model and begin - runs[key][0] < end_s / _WIDTH:
            runs[key] = (d.ended_at, d.job.model)  # draw neighbours of one checkpoint as one box
        else:
            runs[d.gpu, begin], last[d.gpu] = (d.ended_at, d.job.model), (d.gpu, begin)
    parts += [_box(gpu, begin, end, end_s, top, colours[model], model) for (gpu, begin), (end, model) in runs.items()]
    parts += [
        _box(gpu, at, at + swap_s, end_s, top, "#000", f"load {model}") for gpu, at, swap_s, model in outcome.loads
    ]
    return [*parts, *_time_axis(end_s, top + _ROW * len(outcome.gpus))]


def _box(gpu: int, begin: float, end: float, end_s: float, top: int, colour: str, title: str) -> str:  # noqa: PLR0913, PLR0917 - one rectangle
    x, width = _x(begin, end_s), max(0.5, _x(end, end_s) - _x(begin, end_s))
    y = top + gpu * _ROW
    place = f'x="{x:.1f}" y="{y}" width="{width:.1f}" height="{_ROW - 3}"'
    return f'<rect {place} fill="{colour}"><title>{escape(title)}</title></rect>'


def _by_tenant(done: Sequence[Done], top: int) -> tuple[list[str], int]:
    """Mean (dark) and 95th percentile (light) of each tenant's latency, those with most jobs first."""
    by_tenant: dict[str, list[float]] = {}
    for d in done:
        by_tenant.setdefault(d.job.tenant, []).append(d.latency_s)
    ranked = sorted(by_tenant.items(), key=lambda item: -len(item[1]))[:_MOST_TENANTS]
    spreads = [(tenant, len(values), spread(values)) for tenant, values in ranked]
    highest = max((s["p95"] for _, _, s in spreads), default=1.0) or 1.0
    parts = [_text(_LEFT, top - 8, "latency by tenant, s: mean (dark), 95th percentile (light)", "h")]
    for i, (tenant, jobs, values) in enumerate(spreads):
        y = top + i * _BAR
        parts.append(_text(_LEFT - 6, y + 11, tenant, anchor="end"))
        for key, colour in (("p95", "#9cf"), ("mean", "#06c")):
            width = (_WIDTH - _LEFT - 250) * values[key] / highest
            parts.append(f'<rect x="{_LEFT}" y="{y}" width="{width:.1f}" height="{_BAR - 4}" fill="{colour}"/>')
        parts.append(_text(_WIDTH - 150, y + 11, f"{values['mean']:.1f} / {values['p95']:.1f} ({jobs} jobs)"))
    return parts, top + _BAR * max(1, len(spreads)) + 20
