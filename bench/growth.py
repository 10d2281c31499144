"""How the cost of a call grows with keys, backends, models, waiting jobs and processes."""

from __future__ import annotations

import asyncio
import math
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from bench import accounts, answers, servers
from bench.load import Request, measure

SERIES: dict[str, tuple[int, ...]] = {
    "keys": (10, 1_000, 100_000),
    "backends": (2, 20, 200),
    "models": (10, 500, 5_000),
    "waiting jobs": (0, 500, 5_000),
    "processes": (1, 2, 4),
}
_SMALL = Request("POST", "/sdapi/v1/txt2img", answers.asked("small"))


@dataclass(frozen=True, slots=True)
class Point:
    """CPU milliseconds of the gateway for one generation call, and a second when nobody calls (Valkey apart).

    A call that still waits when the run ends has entered and leaves: it counts as one.
    """

    what: str
    count: int
    generation_ms: float
    idle_ms_per_s: float


def run(home: Path, *, say: Callable[[str], None], is_quick: bool) -> list[Point]:
    """One point for each count of each series, all else as usual."""
    points = []
    for what, counts in SERIES.items():
        for count in counts[:2] if is_quick else counts:
            with tempfile.TemporaryDirectory(prefix="g", dir=home) as folder:
                place = Path(folder)
                place.chmod(0o755)
                with _world(place, what, count) as server:
                    point = _point(place, server, what, count, is_quick=is_quick)
            say(f"growth: {point}")
            points.append(point)
    return points


@contextmanager
def _world(home: Path, what: str, count: int) -> Iterator[servers.Server]:
    """A gateway with 10 keys, 8 backends, 30 models, no waiting jobs and 1 process, but for what grows."""
    models = count if what == "models" else 30
    with servers.backends(home, count if what == "backends" else 8, models=models) as ports:
        workers = count if what == "processes" else 1
        with servers.gateway(home, ports, workers=workers) as server:
            if what == "keys":
                _add_keys(home, count)
            yield server


def _point(home: Path, server: servers.Server, what: str, count: int, *, is_quick: bool) -> Point:
    seconds = 1.0 if is_quick else 3.0
    measure(home, server, _SMALL, concurrency=2, seconds=1)  # warm
    idle = _idle_ms_per_s(server)
    if what == "waiting jobs" and count:
        # They wait because more callers than backends ask all the time: the queue is as long as that.
        found = measure(home, server, _SMALL, concurrency=count + 8, seconds=max(seconds, count / 100))
        found = replace(found, cpu_ms=found.cpu_ms * found.calls / (found.calls + count))
    else:
        found = measure(home, server, _SMALL, concurrency=2 if what == "backends" else 4, seconds=seconds)
    idle_share = idle / found.calls_per_s if found.calls_per_s else 0.0
    return Point(what, count, found.cpu_ms - idle_share, idle)


def _idle_ms_per_s(server: servers.Server) -> float:
    """CPU milliseconds a second that the gateway uses when nobody calls."""

    async def rest() -> None:
        await asyncio.sleep(2)

    pids = accounts.tree(server.pid)
    before = accounts.cpu_s(pids)
    asyncio.run(rest())
    return 1000 * (accounts.cpu_s(pids) - before) / 2


def _add_keys(home: Path, count: int) -> None:
    """Further keys of the same tenant, straight into the table: making them one by one is not what is measured."""
    (file,) = home.glob("data-*/gateway.db")
    with closing(sqlite3.connect(file)) as database, database:
        names = [column[1] for column in database.execute("PRAGMA table_info(keys)")]
        row = dict(zip(names, database.execute("SELECT * FROM keys WHERE name = 'bench'").fetchone(), strict=True))
        rows = [
            [{**row, "id": f"bench{n}", "name": f"bench{n}", "digest": f"{n:064x}"}[name] for name in names]
            for n in range(count)
        ]
        places = ", ".join("?" * len(names))
        database.executemany(f"INSERT INTO keys ({', '.join(names)}) VALUES ({places})", rows)


def table(points: list[Point]) -> list[str]:
    """The points, and for each series how much the cost grows over the whole range beside the logarithm's growth."""
    lines = ["| what grows | count | CPU ms a generation call (idle taken off) | idle CPU ms/s |", "|---|---|---|---|"]
    lines += [f"| {p.what} | {p.count} | {p.generation_ms:.3f} | {p.idle_ms_per_s:.0f} |" for p in points]
    lines.append("")
    for what in dict.fromkeys(point.what for point in points):
        series = [point for point in points if point.what == what]
        first, last = next(point for point in series if point.count), series[-1]  # nothing grows from 0 by a ratio
        if first.generation_ms <= 0:
            continue
        ratio = last.generation_ms / first.generation_ms
        most = math.log2(max(2, last.count)) / math.log2(max(2, first.count))
        lines.append(f"- {what}, {first.count} to {last.count}: x {ratio:.2f}; the logarithm grows x {most:.2f}")
    return lines


def as_json(points: list[Point]) -> list[dict[str, Any]]:
    """The points for `latest.json`."""
    return [asdict(point) for point in points]


_COLOURS = ("#4477aa", "#ee6677", "#228833", "#ccbb44", "#aa3377")
_WIDTH, _HEIGHT, _EDGE = 640, 360, 48


def plot(points: list[Point]) -> str:
    """Cost relative to each series' first point, over the count on a logarithmic scale, as SVG."""
    most = max([2.0, *(_relative(points, point) for point in points)])
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" font-family="sans-serif"'
        ' font-size="11"><rect width="100%" height="100%" fill="white"/>'
    ]
    for power in range(6):
        x = _x(10**power)
        lines.append(f'<line x1="{x:.0f}" x2="{x:.0f}" y1="20" y2="{_HEIGHT - _EDGE}" stroke="#ddd"/>')
        lines.append(f'<text x="{x:.0f}" y="{_HEIGHT - _EDGE + 16}" text-anchor="middle">{10**power:,}</text>')
    for step in range(math.ceil(most) + 1):
        y = _y(step, most)
        lines.append(f'<line x1="{_EDGE}" x2="{_WIDTH - 20}" y1="{y:.0f}" y2="{y:.0f}" stroke="#ddd"/>')
        lines.append(f'<text x="{_EDGE - 6}" y="{y + 4:.0f}" text-anchor="end">{step} x</text>')
    for number, what in enumerate(dict.fromkeys(point.what for point in points)):
        series = [point for point in points if point.what == what]
        path = " ".join(f"{_x(p.count):.1f},{_y(_relative(points, p), most):.1f}" for p in series)
        colour = _COLOURS[number]
        lines.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        lines.append(f'<text x="{_EDGE + 8 + 110 * number}" y="14" fill="{colour}">{what}</text>')
    return "\n".join([*lines, "</svg>\n"])


def _relative(points: list[Point], point: Point) -> float:
    first = next(other for other in points if other.what == point.what)
    return point.generation_ms / first.generation_ms if first.generation_ms > 0 else 0.0


def _x(count: int) -> float:
    return _EDGE + (_WIDTH - _EDGE - 20) * math.log10(max(1, count)) / 5


def _y(value: float, most: float) -> float:
    return _HEIGHT - _EDGE - (_HEIGHT - _EDGE - 20) * value / math.ceil(most)
