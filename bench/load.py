"""Load by wrk: C, so that it costs little beside what is measured. What it saw comes back as values."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from bench import accounts
from bench.servers import Server

_SCRIPT = """
wrk.method = "%(method)s"
%(headers)s
%(body)s
done = function(summary, latency, requests)
  local e = summary.errors
  io.write(string.format('RESULT{"calls":%%d,"seconds":%%f,"bad":%%d,"p50_ms":%%f,"p99_ms":%%f}\\n', summary.requests,
    summary.duration / 1e6, e.connect + e.read + e.write + e.status + e.timeout,
    latency:percentile(50) / 1000, latency:percentile(99) / 1000))
end
"""


@dataclass(frozen=True, slots=True)
class Request:
    """What is sent again and again."""

    method: str
    path: str
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Measured:
    """One run: CPU milliseconds of the server a call, calls answered, latencies, peak memory above that before."""

    cpu_ms: float
    calls: int
    calls_per_s: float
    p50_ms: float
    p99_ms: float
    bad: int


def measure(home: Path, server: Server, request: Request, *, concurrency: int, seconds: float) -> Measured:
    """Send `request` over `concurrency` connections for so long; everything the server used counts."""
    pids = accounts.tree(server.pid)
    before = accounts.cpu_s(pids)
    seen = run_wrk(home, server, request, concurrency=concurrency, seconds=seconds)
    used = accounts.cpu_s(pids) - before
    calls = max(1, int(seen["calls"]))
    return Measured(
        cpu_ms=1000 * used / calls,
        calls=int(seen["calls"]),
        calls_per_s=seen["calls"] / seen["seconds"],
        p50_ms=seen["p50_ms"],
        p99_ms=seen["p99_ms"],
        bad=int(seen["bad"]),
    )


def run_wrk(home: Path, server: Server, request: Request, *, concurrency: int, seconds: float) -> dict[str, float]:
    """What wrk saw."""
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {server.key}"} if server.key else {})
    body_file = home / "body"
    body_file.write_bytes(request.body)
    script = home / "load.lua"
    script.write_text(
        _SCRIPT
        % {
            "method": request.method,
            "headers": "\n".join(f'wrk.headers["{name}"] = "{value}"' for name, value in headers.items()),
            "body": f'wrk.body = io.open("{body_file}", "rb"):read("*a")' if request.body else "",
        }
    )
    duration = f"{max(1, round(seconds))}s"
    command = [shutil.which("wrk") or "wrk", "-t1", f"-c{concurrency}", f"-d{duration}", "--timeout", "60s"]
    command += ["-s", str(script), server.url + request.path]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    line = next(line for line in output.splitlines() if line.startswith("RESULT"))
    seen: dict[str, float] = json.loads(line.removeprefix("RESULT"))
    return seen
