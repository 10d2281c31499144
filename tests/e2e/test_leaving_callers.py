"""Callers who leave at every point of a call: what an operator's log says of them, on real processes."""

from __future__ import annotations

import json
import socket
import struct

import pytest

from tests.support.hostile import PIXEL
from tests.support.patience import PATIENCE_S
from tests.support.pools import SMALL
from tests.support.processes import wait_until

LEAVER = "sk-leaving-0123456789abcdefghij"
LIMITS = {"requests_per_minute": 1_000_000, "burst": 1_000_000, "max_queued": 2000, "max_concurrency": 8}
EACH = 6


def head(line, *more):
    return "\r\n".join([line + " HTTP/1.1", "Host: h", *more, "", ""]).encode()


def asked(name, junk_bytes=0, path="/sdapi/v1/txt2img", more=()):
    size = {"steps": 150, "width": 1024, "height": 1024, "init_images": [PIXEL]}
    body = json.dumps({**SMALL, **size, "sd_model_checkpoint": "red", "junk": "x" * junk_bytes}).encode()
    named = (f"Authorization: Bearer {LEAVER}", f"X-Request-Id: {name}", f"Content-Length: {len(body)}", *more)
    return head(f"POST {path}", *named) + body


def listed(name, method="GET"):
    return head(f"{method} /openapi.json", f"Authorization: Bearer {LEAVER}", f"X-Request-Id: {name}")


# What a caller sends, and what it waits for before it leaves. Nothing: it leaves at once.
LEAVERS = {
    "tls": (lambda name: b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(200)), b""),
    "in-the-head": (lambda name: listed(name)[:40], b""),
    "head-too-large": (lambda name: listed(name)[:-2] + b"x: " + b"y" * 40_000, b"HTTP/1.1 431"),
    "in-the-body": (lambda name: asked(name, 200_000)[:90_000], b""),
    "in-a-chunk": (lambda name: head("POST /sdapi/v1/txt2img", "Transfer-Encoding: chunked") + b"4\r\nbo", b""),
    "broken-chunk": (lambda name: head("POST /livez", "Transfer-Encoding: chunked") + b"xyz\r\n", b""),
    "before-continue": (lambda name: asked(name, more=["Expect: 100-continue"]).partition(b"{")[0], b"100 Continue"),
    "refused-early": (lambda name: head("POST /sdapi/v1/txt2img", "Content-Length: 900000") + b"x" * 9_000, b"401"),
    "at-once": (lambda name: asked(name), b""),
    "large-at-once": (lambda name: asked(name, 3_000_000, "/sdapi/v1/img2img"), b""),
    "among-blanks": (lambda name: asked(name), b"\r\n1\r\n \r\n"),
    "pipelined": (lambda name: b"".join(listed(f"{name}-{number}") for number in range(16)), b"HTTP/1.1 200"),
    "pipelined-heads": (lambda name: b"".join(listed(f"{name}-{number}", "HEAD") for number in range(16)), b""),
    "behind-a-job": (lambda name: asked(name) + listed(f"{name}-behind"), b""),
    "upgrade": (lambda name: asked(name, more=["Connection: Upgrade", "Upgrade: h2c"]), b""),
    "too-many": (lambda name: listed(name) * 300, b"HTTP/1.1 200"),
}


def leave(pool, name, *, by_reset):
    make, until = LEAVERS[name.rpartition(".")[0]]
    with socket.create_connection(("127.0.0.1", pool.gateway.port), timeout=PATIENCE_S) as wire:
        wire.sendall(make(name))
        received = b""
        while until not in received:
            chunk = wire.recv(1_000)
            assert chunk, f"{name}: closed before {until!r}"
            received += chunk
        if by_reset:
            wire.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


@pytest.fixture
def served(pool):
    pool.add_sim("one", "red", seconds_per_megapixel_step="0.01", swap_seconds="0.05")
    pool.start()
    pool.add_key(LEAVER, "leaving", {**LIMITS, "keep_alive_s": 0.3})
    return pool


def test_a_burst_of_leaving_callers_leaves_one_line_a_call_and_no_traceback(served):
    before = served.gateway.output.splitlines()
    for number in range(EACH):
        for kind in LEAVERS:
            leave(served, f"{kind}.{number}", by_reset=number % 2 == 1)
    wait_until(lambda: not served.valkey.client.hlen("{gateway}:slot"), "no job of a caller who left is left")
    wait_until(lambda: f'"among-blanks.{EACH - 1}"' in served.gateway.output, "their jobs are told")
    assert served.post(SMALL, LEAVER).status_code == 200
    written = served.gateway.output.splitlines()[len(before) :]
    lines = [json.loads(line) for line in written if line.startswith("{")]
    assert [line for line in written if not line.startswith("{")] == []
    assert [line for line in lines if "exception" in line or line["level"] == "error"] == []
    named = [line["request_id"] for line in lines if line["event"] == "call"]
    assert len(named) == len(set(named))
    assert len([line for line in lines if line["event"] != "call"]) <= 2  # refusals without a key, once a minute
