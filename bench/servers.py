"""The servers of a bench run: nginx as backend and as proxy, the bare pass-through, LiteLLM, and the gateway itself."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench import answers
from gateway.flow.changes import Author
from gateway.flow.credentials import KeyRequest
from gateway.launcher.embedded import EmbeddedValkey
from gateway.settings import Settings
from gateway.wiring.desk import open_management

KEY = "sk-bench-0123456789abcdefghij"
AUTHOR = Author("bench", 1_700_000_000.0)
NO_LIMITS = {
    "requests_per_minute": 100_000_000,
    "burst": 100_000_000,
    "max_concurrency": 10_000,
    "max_queued": 20_000,
    "max_wait_s": 600,
}
_READY_WITHIN_S = 60.0


@dataclass(frozen=True, slots=True)
class Server:
    """A running contender: `pid` is the root of its processes, `url` where it listens."""

    name: str
    pid: int
    url: str
    key: str = ""


def free_ports(count: int) -> list[int]:
    """Different free ports of the loopback interface."""
    holders = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    try:
        return [holder.getsockname()[1] for holder in holders]
    finally:
        for holder in holders:
            holder.close()


def environment(**more: str) -> dict[str, str]:
    """This process's environment without any setting of a gateway, with `more`, and with this source tree first."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("GATEWAY_")}  # noqa: TID251
    return {**ours, "PYTHONPATH": str(Path(__file__).parents[1]), **more}


def fetch(url: str, key: str = "", body: bytes | None = None) -> tuple[int, bytes]:
    """Status and body of one request; status 0 while nobody listens."""
    request = urllib.request.Request(url, data=body, headers={"Content-Type": "application/json"})
    if key:
        request.add_header("Authorization", f"Bearer {key}")
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()
    except OSError:
        return 0, b""


def wait_until(condition: Callable[[], object], what: str) -> None:
    """Return once `condition` holds; RuntimeError if it does not within a minute."""
    deadline = time.monotonic() + _READY_WITHIN_S
    while not condition():
        if time.monotonic() > deadline:
            raise RuntimeError(f"not within {_READY_WITHIN_S:.0f} s: {what}")
        time.sleep(0.05)


@contextmanager
def running(name: str, command: list[str], home: Path, **more: str) -> Iterator[int]:
    """A process group for as long as the block lasts; its pid. Its output stands in `home`/NAME.log."""
    with (home / f"{name}.log").open("wb") as log:
        process = subprocess.Popen(
            command, cwd=home, stdout=log, stderr=log, env=environment(**more), start_new_session=True
        )
    try:
        yield process.pid
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


_NGINX = """
daemon off; worker_processes 1; pid {home}/{name}.pid; error_log {home}/{name}.error;
events {{ worker_connections 8192; }}
http {{
  access_log off; client_max_body_size 64m; default_type application/json; sendfile on; tcp_nopush on;
  keepalive_requests 100000000; keepalive_timeout 75s; types {{ }}
  client_body_temp_path {home}/{name}-body; proxy_temp_path {home}/{name}-proxy;
  fastcgi_temp_path {home}/{name}-f; uwsgi_temp_path {home}/{name}-u; scgi_temp_path {home}/{name}-s;
{servers}
}}
"""
_BACKEND = """
  map $content_length $answer { default small; "~^[1-9][0-9]{7,}$" large; "~^[1-9][0-9]{6}$" medium; }
  upstream files { server unix:SOCKET; keepalive 64; keepalive_requests 100000000; }
  server { listen unix:SOCKET; root ROOT; }
  server {
    LISTEN
    root ROOT;
    client_body_buffer_size 32m; proxy_buffer_size 64k; proxy_buffers 8 64k; proxy_buffering off;
    proxy_http_version 1.1;
    proxy_set_header Connection ""; proxy_set_header Content-Length ""; proxy_pass_request_body off; proxy_method GET;
    location = /sdapi/v1/txt2img { proxy_pass http://files/answers/$answer.json; }
    location = /sdapi/v1/img2img { proxy_pass http://files/answers/$answer.json; }
    location = /v1/images/generations { proxy_pass http://files/answers/openai.json; }
    location / { error_page 405 =200 $uri; }
  }
"""


@contextmanager
def backends(home: Path, count: int, *, models: int) -> Iterator[list[int]]:
    """One nginx that listens on `count` ports and answers like `count` servers of SD.Next; the ports.

    It reads the whole body as SD.Next does (an answer before the end of the body would spare the sender the rest),
    throws it away and sends a file: whatever stands before it, it is not the bottleneck.
    """
    ports = free_ports(count)
    name = f"backend-{ports[0]}"
    root = home / name
    (root / "sdapi/v1").mkdir(parents=True)
    (root / "answers").mkdir()
    for route, answer in answers.lists(models).items():
        (root / "sdapi/v1" / route).write_text(json.dumps(answer))
    for name, size in zip(("small", "medium", "large"), answers.SIZES.values(), strict=True):
        (root / "answers" / f"{name}.json").write_bytes(answers.generated(size))
    (root / "answers/openai.json").write_text(json.dumps(answers.openai_image()))
    root.chmod(0o755)
    listening = "\n    ".join(f"listen 127.0.0.1:{port};" for port in ports)
    words = {"LISTEN": listening, "ROOT": str(root), "SOCKET": str(home / f"{name}.sock")}
    config = _BACKEND
    for word, value in words.items():
        config = config.replace(word, value)
    with _nginx(home, name, config):
        url = f"http://127.0.0.1:{ports[0]}/sdapi/v1/"
        wait_until(lambda: fetch(f"{url}txt2img", body=b"{}")[0] == 200, "the backend answers")
        yield ports


@contextmanager
def nginx_proxy(home: Path, ports: list[int], *, buffered: bool) -> Iterator[Server]:
    """nginx as a plain proxy: its defaults with upstream keep-alive, or without any buffering."""
    name, (port,) = "nginx" if buffered else "nginx unbuffered", free_ports(1)
    upstream = " ".join(f"server 127.0.0.1:{port};" for port in ports)
    plain = "" if buffered else "proxy_buffering off; proxy_request_buffering off;"
    config = f"""
  upstream pool {{ {upstream} keepalive 64; keepalive_requests 100000000; }}
  server {{ listen 127.0.0.1:{port}; location / {{
    proxy_pass http://pool; proxy_http_version 1.1; proxy_set_header Connection ""; {plain} }} }}
"""
    with _nginx(home, name.replace(" ", "-"), config) as pid:
        url = f"http://127.0.0.1:{port}"
        wait_until(lambda: fetch(f"{url}/sdapi/v1/options")[0] == 200, "nginx answers")
        yield Server(name, pid, url)


@contextmanager
def _nginx(home: Path, name: str, servers: str) -> Iterator[int]:
    config = home / f"{name}.conf"
    user = "user root;" if os.geteuid() == 0 else ""  # else its workers may not read the temporary directory
    config.write_text(user + _NGINX.format(home=home, name=name, servers=servers))
    binary = shutil.which("nginx") or "/usr/sbin/nginx"
    with running(name, [binary, "-p", str(home), "-c", str(config)], home) as pid:
        yield pid


@contextmanager
def floor(home: Path, ports: list[int]) -> Iterator[Server]:
    """FastAPI and aiohttp that pass everything through and do nothing else: what the chosen parts cost at least."""
    (port,) = free_ports(1)
    command = [sys.executable, "-m", "uvicorn", "bench.floor:create_app", "--factory", "--port", str(port)]
    with running(
        "floor", [*command, "--no-access-log", "--log-level", "warning"], home, BENCH_BACKENDS=",".join(map(str, ports))
    ) as pid:
        url = f"http://127.0.0.1:{port}"
        wait_until(lambda: fetch(f"{url}/sdapi/v1/options")[0] == 200, "the floor answers")
        yield Server("floor", pid, url)


@contextmanager
def litellm(home: Path, ports: list[int], python: str) -> Iterator[Server]:
    """LiteLLM's proxy in front of the same backend, one worker, by its image route; `python` is one that has it."""
    (port,) = free_ports(1)
    config = home / "litellm.yaml"
    params = {"model": "openai/bench", "api_base": f"http://127.0.0.1:{ports[0]}/v1", "api_key": "sk-none"}
    deployment = {"model_name": "bench", "litellm_params": params, "model_info": {"mode": "image_generation"}}
    general = {"master_key": KEY}
    config.write_text(json.dumps({"model_list": [deployment], "general_settings": general}))  # JSON is YAML
    program = str(Path(python).parent / "litellm")
    more = {"NO_PROXY": "*", "LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_TELEMETRY": "False", "PYTHONPATH": ""}
    command = [program, "--config", str(config), "--host", "127.0.0.1", "--port", str(port), "--num_workers", "1"]
    with running("litellm", command, home, **more) as pid:
        url = f"http://127.0.0.1:{port}"
        wait_until(lambda: fetch(f"{url}/health/liveliness")[0] == 200, "LiteLLM answers")
        yield Server("litellm", pid, url, KEY)


@contextmanager
def gateway(home: Path, ports: list[int], *, workers: int = 1, python: str = sys.executable) -> Iterator[Server]:
    """The gateway with a Valkey beside it (not in its accounts) and one key without limits."""
    (port,) = free_ports(1)
    data = home / f"data-{port}"
    data.mkdir()
    declared = json.dumps([{"name": f"b{n:03}", "url": f"http://127.0.0.1:{p}"} for n, p in enumerate(ports)])
    with EmbeddedValkey(data / "valkey", persist=True) as valkey:
        settings = {
            "port": port,
            "data_dir": data,
            "redis_url": valkey.url,
            "alone": "true",
            "backends": declared,
            "workers": workers,
            "first_key": "sk-first-0123456789abcdefghij",
            "drain_delay_s": 0,
            "key_calls_per_minute": 1_000_000_000,
        }
        variables = {f"GATEWAY_{name.upper()}": str(value) for name, value in settings.items()}
        with running(f"gateway-{port}", [python, "-m", "gateway", "serve"], home, **variables) as pid:
            url = f"http://127.0.0.1:{port}"
            wait_until(lambda: fetch(f"{url}/readyz")[0] == 200, "the gateway is ready")
            asyncio.run(make_key(Settings(data_dir=data, redis_url=valkey.url, alone=True)))
            small = answers.asked("small")
            wait_until(lambda: fetch(f"{url}/sdapi/v1/txt2img", KEY, small)[0] == 200, "the gateway generates")
            yield Server("gateway", pid, url, KEY)


async def make_key(settings: Settings) -> None:
    """One tenant without limits and its key."""
    async with open_management(settings) as manager:
        await manager.create_plan(AUTHOR, "bench", NO_LIMITS)
        await manager.create_tenant(AUTHOR, "bench", "bench")
        await manager.credentials.ensure_key(AUTHOR, KeyRequest("bench", "bench", secret=KEY))
