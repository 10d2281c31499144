"""Real balancers in front of a gateway under test: HAProxy as it is shipped, nginx with the snippets people use."""

from __future__ import annotations

import contextlib
import functools
import itertools
import re
import shutil
import subprocess
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.patience import PATIENCE_S
from tests.support.ports import free_port
from tests.support.processes import wait_until

ROOT = Path(__file__).parents[2]
DOCUMENTED = re.findall(r"```nginx\n(.*?)```", (ROOT / "docs/operations.md").read_text(), re.DOTALL)[0]
# What nginx's own page on websockets says, and the form of it that is copied most.
WEBSOCKET_LINES = "proxy_pass http://gateway; proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade;"
WEBSOCKET_SNIPPETS = {
    "nginx with a map": "proxy_set_header Connection $connection_upgrade;",
    "nginx with a word": 'proxy_set_header Connection "upgrade";',
}
_NGINX = """
daemon off; master_process off; pid {folder}/pid; error_log {folder}/error.log;
events {{ worker_connections 512; }}
http {{
  access_log off; client_max_body_size 64m;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  map $http_upgrade $connection_upgrade {{ default upgrade; '' close; }}
  upstream gateway {{ server 127.0.0.1:{gateway}; keepalive 8; }}
  server {{ listen 127.0.0.1:{port}; {location} }}
}}
"""


@contextlib.contextmanager
def haproxy(folder: Path, *gateways: int) -> Iterator[int]:
    """The port of the balancer of docker/compose.yml before these gateways; only its addresses are others."""
    program, port = needed("haproxy"), free_port()
    text = (ROOT / "docker/haproxy.cfg").read_text().replace("bind :8080", f"bind 127.0.0.1:{port}")
    servers = re.findall(r"    server \w+ gateway-\d+:8080\n", text)
    assert len(gateways) <= len(servers)
    for line, gateway in itertools.zip_longest(servers, gateways):
        own = re.sub(r"gateway-\d+:8080", f"127.0.0.1:{gateway}", line)
        text = text.replace(line, own if gateway else "")
    (folder / "haproxy.cfg").write_text(text)
    with _running([program, "-db", "-f", str(folder / "haproxy.cfg")], port):
        yield port


@contextlib.contextmanager
def nginx(folder: Path, gateway: int, location: str = DOCUMENTED) -> Iterator[int]:
    """The port of an nginx with this location before that gateway; as docs/operations.md has it if none is given."""
    program, port = needed("nginx"), free_port()
    location = location.replace("http://GATEWAY", "http://gateway")
    (folder / "nginx.conf").write_text(_NGINX.format(folder=folder, gateway=gateway, port=port, location=location))
    with _running([program, "-p", str(folder), "-c", str(folder / "nginx.conf")], port):
        yield port


def needed(program: str) -> str:
    """The path of a program; the test is skipped, saying so, where it is not installed."""
    found = shutil.which(program)
    if found is None:
        pytest.skip(f"{program} is not installed")
    return found


WAYS: dict[str, Callable[[Path, int], contextlib.AbstractContextManager[int]]] = {
    "directly": lambda _folder, gateway: contextlib.nullcontext(gateway),
    "haproxy": haproxy,
    "nginx": nginx,
    **{
        name: functools.partial(nginx, location=f"location / {{ {WEBSOCKET_LINES} {connection} }}")
        for name, connection in WEBSOCKET_SNIPPETS.items()
    },
}
"""How a caller may come to a gateway: gives the port to go to, from an empty folder and the gateway's port."""


@contextlib.contextmanager
def every_way(folder: Path, gateway: int) -> Iterator[dict[str, int]]:
    """The port of every way there is on this machine: those without their program are left out."""
    with contextlib.ExitStack() as stack:
        ports = {}
        for way, enter in WAYS.items():
            if way == "directly" or shutil.which(way.partition(" ")[0]) is not None:
                own = folder / way.replace(" ", "-")
                own.mkdir()
                ports[way] = stack.enter_context(enter(own, gateway))
        yield ports


def port_of(way: str, ports: dict[str, int]) -> int:
    """The port of this way; the test is skipped, saying why, where there is none."""
    if way not in ports:
        needed(way.partition(" ")[0])
    return ports[way]


@contextlib.contextmanager
def _running(command: list[str], port: int) -> Iterator[None]:
    process = subprocess.Popen(command)  # noqa: S603 - a program that is installed, with our own configuration
    try:
        wait_until(lambda: _is_served(port), f"{command[0]} sends calls on")
        yield
    finally:
        process.terminate()
        process.wait(PATIENCE_S)


def _is_served(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/livez", timeout=PATIENCE_S) as answer:
            return answer.status == 200
    except OSError:
        return False
