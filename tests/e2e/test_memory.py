"""What a real process holds while callers and backends send as much as they can: measured by the kernel."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import threading
from pathlib import Path

import pytest

from tests.support.pools import KEY, SMALL
from tests.support.processes import wait_until

SECOND, THIRD = "sk-second-0123456789abcdefghij", "sk-third-0123456789abcdefghij"
BUDGET_MB = 64
PEAK = 2.5  # times the budget above the idle process: what operations.md promises
BODY, SENT = 30_000_000, 8_000_000
ROUTES = ("img2img", "png-info", "extra-batch-images", "interrogate", "caption", "extra-single-image")


def high_water_mb(process) -> float:
    """The most memory that the process ever had at once."""
    for line in Path(f"/proc/{process.process.pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise AssertionError("no VmHWM")


async def half_sent(port: int, path: str, key: str) -> tuple[asyncio.StreamWriter, bytes]:
    """A call whose body stops in the middle: back when all that was to be sent is, or when an answer came first."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = f"POST {path} HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {key}\r\nContent-Length: {BODY}\r\n\r\n"
    writer.write(head.encode() + b'{"image": "' + b"A" * SENT)
    draining = asyncio.ensure_future(writer.drain())
    answering = asyncio.ensure_future(reader.read(4096))
    with contextlib.suppress(OSError):
        await asyncio.wait([draining, answering], return_when=asyncio.FIRST_COMPLETED)
    answer = b""
    if answering.done() and answering.exception() is None:
        answer = answering.result()
    for task in (draining, answering):
        task.cancel()
    await asyncio.gather(draining, answering, return_exceptions=True)
    return writer, answer


async def flood(pool, keys: list[str]) -> list[bytes]:
    """Half-sent bodies on every route that takes pictures, of these keys; a third tenant meanwhile; their answers."""
    paths = ["/v1/explain", *(f"/sdapi/v1/{name}" for name in ROUTES)] * 3
    calls = await asyncio.gather(*(half_sent(pool.gateway.port, path, key) for path in paths for key in keys))
    async with pool.client(THIRD) as client:
        small = await client.post("/sdapi/v1/txt2img", json=SMALL)
        large = await client.post("/sdapi/v1/png-info", json={"image": "", "beside": "A" * 3_000_000})
        assert (small.status_code, large.status_code) == (200, 200)
    for writer, _ in calls:
        writer.transport.abort()
    return [answer for _, answer in calls]


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak of a process is read from /proc")
def test_half_sent_bodies_of_two_tenants_take_no_more_than_the_budget_and_a_third_gets_in(pool):
    """42 of them with 8 MB each: 988 MB a worker before, and nobody else was let in."""
    pool.add_sim("one", "red", time_scale="0")
    pool.start(byte_budget_mb=str(BUDGET_MB), caption_models="ViT-L-14/openai", default_model="red")
    for number, key in enumerate((SECOND, THIRD)):
        pool.add_key(key, f"tenant-{number}")
    assert pool.post(SMALL).status_code == 200
    idle = high_water_mb(pool.gateway)
    answers = asyncio.run(flood(pool, [KEY, SECOND]))
    refused = [answer.lower() for answer in answers if answer]
    assert refused
    assert all(answer.startswith(b"http/1.1 503") and b"retry-after" in answer for answer in refused)
    assert high_water_mb(pool.gateway) - idle <= PEAK * BUDGET_MB


class LyingBackend:
    """An SD.Next whose jobs are answered by `answer(connection)`; everything else by the simulator behind it."""

    def __init__(self, sim_port: int, answer) -> None:
        self._sim, self._answer = sim_port, answer
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.sent = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        """One request a connection; its first bytes tell whether it is a job."""
        with connection, contextlib.suppress(OSError):
            first = connection.recv(65536)
            if b"2img" in first.partition(b"\r\n")[0]:
                self._answer(self, connection)
                return
            with socket.create_connection(("127.0.0.1", self._sim)) as sim:
                sim.sendall(first.replace(b"\r\n", b"\r\nConnection: close\r\n", 1))
                while piece := sim.recv(65536):
                    connection.sendall(piece)

    def send(self, connection: socket.socket, *pieces: bytes) -> None:
        for piece in pieces:
            connection.sendall(piece)
            self.sent += len(piece)


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
MOST_SENT = 600_000_000


def endless(backend, connection):
    backend.send(connection, HEAD + b'\r\n{"images": ["')
    while backend.sent < MOST_SENT:
        backend.send(connection, b"A" * 1_000_000)


def announced(backend, connection):
    backend.send(connection, HEAD + b"Content-Length: 3000000000\r\n\r\n")
    endless(backend, connection)


def crowded(backend, connection):
    """As large as an answer may be, and of nothing but tiny values."""
    body = b'{"images":[' + b"1," * 400_000 + b"1]}"
    backend.send(connection, HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body)


def nested_error(backend, connection):
    body = b'{"detail":[' + b"[]," * 300_000 + b"1]}"
    head = HEAD.replace(b"200 OK", b"500 X")
    backend.send(connection, head + b"Content-Length: %d\r\n\r\n" % len(body) + body)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak of a process is read from /proc")
def test_an_answer_of_gigabytes_fails_its_attempt_and_is_not_read(pool):
    """6 GB were resident and every other call waited 46 s before."""
    sim = pool.add_sim("one", "red", time_scale="0")
    wait_until(sim.is_up, "the simulator is up")
    liars = [LyingBackend(sim.port, answer) for answer in (endless, announced, crowded, nested_error)]
    urls = [f"http://127.0.0.1:{liar.port}" for liar in liars]
    declared = [{"name": url[-5:], "url": url} for url in urls]
    try:
        pool.start(backends=json.dumps(declared), byte_budget_mb=str(BUDGET_MB), default_model="red")
        idle = high_water_mb(pool.gateway)
        for number in range(20):  # each another one: a request that many backends fail on is refused in the end
            reply = pool.post({**SMALL, "prompt": f"cat {number}"})
            assert (reply.status_code, reply.json()["error"]) == (500, "GenerationFailed"), reply.text
            if all(liar.sent for liar in liars):
                break
        assert 0 < min(liar.sent for liar in liars) <= max(liar.sent for liar in liars) < MOST_SENT
        assert high_water_mb(pool.gateway) - idle <= PEAK * BUDGET_MB
        assert pool.get("/sdapi/v1/sd-models").status_code == 200
    finally:
        for liar in liars:
            liar.close()
