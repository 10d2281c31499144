"""What a call costs: the gateway beside nginx, the floor and LiteLLM, interleaved within one run."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench import answers, servers
from bench.load import Measured, Request, measure

BACKENDS = 40  # more than the highest concurrency: each runs one job at a time
OURS, QUEUED = "gateway", "gateway, all wait"
LITELLM_BODY = json.dumps({"model": "bench", "prompt": "a lighthouse at dawn", "n": 1}).encode()


@dataclass(frozen=True, slots=True)
class Case:
    """One kind of call at one concurrency."""

    name: str
    request: Request
    concurrency: int


@dataclass(frozen=True, slots=True)
class Figure:
    """The medians over all rounds of one contender in one case, with the least and the most CPU of a round."""

    case: str
    contender: str
    measured: Measured
    least_ms: float
    most_ms: float


def cases() -> list[Case]:
    """All kinds of calls."""
    small = Request("POST", "/sdapi/v1/txt2img", answers.asked("small"))
    return [
        Case("generation, small, 1 at once", small, 1),
        Case("generation, small, 32 at once", small, 32),
        Case("list of models, 32 at once", Request("GET", "/sdapi/v1/sd-models"), 32),
        Case("progress, 32 at once", Request("GET", "/sdapi/v1/progress?skip_current_image=true"), 32),
        Case("2 MB picture up and down, 2 at once", Request("POST", "/sdapi/v1/img2img", answers.asked("2 MB")), 2),
        Case("8 MB picture up and down, 2 at once", Request("POST", "/sdapi/v1/img2img", answers.asked("8 MB")), 2),
    ]


def run(
    home: Path, *, rounds: int, seconds: float, litellm_python: str, say: Callable[[str], None], is_quick: bool
) -> list[Figure]:
    """Every case with every contender, round by round; `seconds` for each. Quick leaves the largest pictures out."""
    seen: dict[tuple[str, str], list[Measured]] = {}
    with ExitStack() as stack:
        ports = stack.enter_context(servers.backends(home, BACKENDS, models=30))
        contenders = [
            stack.enter_context(servers.nginx_proxy(home, ports, buffered=True)),
            stack.enter_context(servers.nginx_proxy(home, ports, buffered=False)),
            stack.enter_context(servers.floor(home, ports)),
            stack.enter_context(servers.gateway(home, ports)),
        ]
        few = stack.enter_context(servers.gateway(home, ports[:2]))
        peers = [stack.enter_context(servers.litellm(home, ports, litellm_python))] if litellm_python else []
        for number in range(rounds):
            for case in _answered(cases()[: -1 if is_quick else None], contenders):
                entrants = [(one.name, one, case.request) for one in contenders]
                if case.request.path.endswith("txt2img"):
                    entrants += [(QUEUED, few, case.request)] if case.concurrency > 1 else []
                    image = Request("POST", "/v1/images/generations", LITELLM_BODY)
                    entrants += [(peer.name, peer, image) for peer in peers]
                for name, server, request in entrants:
                    _warm(server, request)
                    found = measure(home, server, request, concurrency=case.concurrency, seconds=seconds)
                    if found.bad:
                        raise RuntimeError(f"{case.name}: {name} refused or lost {found.bad} of {found.calls} calls")
                    seen.setdefault((case.name, name), []).append(found)
                    say(f"round {number + 1}: {case.name}: {name}: {found.cpu_ms:.3f} ms CPU, {found.calls} calls")
    return [_figure(case, contender, found) for (case, contender), found in seen.items()]


def _answered(wanted: list[Case], contenders: list[servers.Server]) -> list[Case]:
    """The cases whose route every contender has; one that the gateway does not have yet cannot be compared."""
    return [
        case
        for case in wanted
        if case.request.method == "POST"
        or all(servers.fetch(one.url + case.request.path, one.key)[0] == 200 for one in contenders)
    ]


def _warm(server: servers.Server, request: Request) -> None:
    """A few calls one after the other: what is made at the first call only is not what a call costs."""
    for _ in range(3):
        status, _ = servers.fetch(server.url + request.path, server.key, request.body or None)
        if status != 200:
            raise RuntimeError(f"{server.name} answers {status} to {request.method} {request.path}")


def _figure(case: str, contender: str, found: list[Measured]) -> Figure:
    def median(name: str) -> float:
        return statistics.median(getattr(one, name) for one in found)

    measured = Measured(
        cpu_ms=median("cpu_ms"),
        calls=sum(one.calls for one in found),
        calls_per_s=median("calls_per_s"),
        p50_ms=median("p50_ms"),
        p99_ms=median("p99_ms"),
        bad=0,
    )
    costs = [one.cpu_ms for one in found]
    return Figure(case, contender, measured, min(costs), max(costs))


def table(figures: list[Figure]) -> list[str]:
    """The figures as a Markdown table; times x nginx is the ratio that counts, added latency is that over nginx."""
    lines = [
        "| call | contender | CPU ms a call (least-most) | x nginx | calls/s and core | p50 ms | p99 ms |"
        " added p50 / p99 ms |",
        "|---|---|---|---|---|---|---|---|",
    ]
    limits = {figure.case: figure.measured for figure in figures if figure.contender == "nginx"}
    for figure in figures:
        one, limit = figure.measured, limits[figure.case]
        ratio = f"{one.cpu_ms / limit.cpu_ms:.1f}" if limit.cpu_ms else "-"
        lines.append(
            f"| {figure.case} | {figure.contender} | {one.cpu_ms:.3f} ({figure.least_ms:.3f}-{figure.most_ms:.3f})"
            f" | {ratio} | {1000 / one.cpu_ms if one.cpu_ms else 0:.0f} | {one.p50_ms:.2f} | {one.p99_ms:.2f}"
            f" | {one.p50_ms - limit.p50_ms:+.2f} / {one.p99_ms - limit.p99_ms:+.2f} |"
        )
    return lines


def verdicts(figures: list[Figure]) -> list[str]:
    """Each budget with what was measured."""
    by = {(figure.case, figure.contender): figure.measured for figure in figures}
    lines = []
    for case, most in (
        ("generation, small, 32 at once", 1.5),
        ("list of models, 32 at once", 0.4),
        ("progress, 32 at once", 0.4),
    ):
        found = by.get((case, OURS))
        lines.append(_verdict(f"{case}: CPU ms <= {most}", None if found is None else found.cpu_ms, most))
    case = "2 MB picture up and down, 2 at once"
    lines.append(_verdict("2 MB picture: x nginx's CPU <= 2.5", by[case, OURS].cpu_ms / by[case, "nginx"].cpu_ms, 2.5))
    alone = "generation, small, 1 at once"
    for name, most in (("p50_ms", 3.0), ("p99_ms", 10.0)):
        added = getattr(by[alone, OURS], name) - getattr(by[alone, "nginx"], name)
        lines.append(_verdict(f"added latency, 1 at once, {name[:3]} ms <= {most}", added, most))
    peer = by.get(("generation, small, 32 at once", "litellm"))
    if peer is not None:
        share = 10 * by["generation, small, 32 at once", OURS].cpu_ms / peer.cpu_ms
        lines.append(_verdict("10 x our generation call / LiteLLM's image route <= 1", share, 1.0))
    return lines


def _verdict(budget: str, found: float | None, most: float) -> str:
    if found is None:
        return f"- not measured: {budget} (the gateway has no such route yet)"
    return f"- {'holds' if found <= most else 'MISSED'}: {budget}: {found:.3f}"


def as_json(figures: list[Figure]) -> list[dict[str, Any]]:
    """The figures for `latest.json`."""
    return [asdict(figure) for figure in figures]
