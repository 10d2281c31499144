"""The server as a process and as a peer on a socket: keep-alive, shutdown, death, signals."""

from __future__ import annotations

import asyncio
import base64
import signal
import struct
import subprocess
import sys
import time
import zlib
from contextlib import contextmanager
from typing import TYPE_CHECKING

import httpx2
import pytest
from PIL import Image

from tests.simulator.support import SMALL, as_base64, in_process, instant, on_a_socket, until
from tests.support.patience import PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import Iterator

REQUEST = b"GET /sdapi/v1/status HTTP/1.1\r\nHost: sdnext\r\n\r\n"
RUN = "import sys, typer; from gateway.cli.sim_backend import sim_backend; typer.run(sim_backend)"


@contextmanager
def a_process(*flags: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The command in a process of its own, and where it answers."""
    command = [sys.executable, "-c", RUN, "--port", "0", *flags]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)  # noqa: S603 - our own command
    try:
        assert process.stdout is not None
        yield process, process.stdout.readline().split()[-1]
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


async def test_an_idle_connection_is_closed_after_five_seconds() -> None:
    async with on_a_socket(instant()) as (_, server):
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(REQUEST)
        head = await reader.readuntil(b"\r\n\r\n")
        answered = time.monotonic()
        rest = await reader.read()
        closed_after = time.monotonic() - answered
        writer.close()

        assert head.startswith(b"HTTP/1.1 200 OK")
        assert rest.startswith(b'{"status"')
        assert 4.9 < closed_after < 5.5


async def test_expect_100_continue_is_answered_before_the_body_is_sent() -> None:
    async with on_a_socket(instant()) as (_, server):
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        head = b"POST /sdapi/v1/options HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        writer.write(head + b"Content-Length: 2\r\nExpect: 100-continue\r\n\r\n")
        first = await reader.readuntil(b"\r\n\r\n")
        writer.write(b"{}")
        second = await reader.readuntil(b"\r\n\r\n")
        writer.close()

        assert first.startswith(b"HTTP/1.1 100 Continue")
        assert second.startswith(b"HTTP/1.1 200 OK")


async def test_shutdown_answers_204_drops_all_others_without_a_reply_and_refuses_from_then_on() -> None:
    async with on_a_socket(instant()) as (backend, server), asyncio.TaskGroup() as tasks:
        backend.engine.hold("inference")
        jobs = [tasks.create_task(_outcome(backend.txt2img())) for _ in range(2)]
        await until(lambda: backend.engine.counters.in_flight == 2)
        answer = await backend.post("shutdown")
        outcomes = [await job for job in jobs]

        assert answer.status_code == 204
        assert outcomes == ["gone", "gone"]
        assert server.exit_status == 0
        assert await _outcome(backend.get("status")) == "refused"


async def _outcome(call: object) -> str:
    try:
        reply = await call  # type: ignore[misc]
    except httpx2.ConnectError:
        return "refused"
    except (httpx2.RemoteProtocolError, httpx2.ReadError):
        return "gone"
    return str(reply.status_code)


def png_header(width: int, height: int) -> str:
    """A PNG that claims a size and holds nothing; enough for whoever looks at the header."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = b"IDAT" + zlib.compress(b"")
    chunks = b"".join(
        struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c)) for c in (header, data, b"IEND")
    )
    return base64.b64encode(b"\x89PNG\r\n\x1a\n" + chunks).decode()


async def test_a_pixel_bomb_of_little_bytes_kills_the_process_although_width_and_height_are_64() -> None:
    async with on_a_socket(instant()) as (backend, server):
        bomb = SMALL | {"init_images": [png_header(20_000, 20_000)]}
        outcome = await _outcome(backend.post("img2img", bomb))

        assert (outcome, server.exit_status) == ("gone", 137)
        assert await _outcome(backend.get("status")) == "refused"


async def test_an_upscale_dies_of_a_bomb_and_of_a_result_as_large() -> None:
    for body in ({"image": png_header(20_000, 20_000)}, {"image": _square(2000), "upscaling_resize": 8}):
        async with on_a_socket(instant(upscalers="fixed")) as (backend, server):
            outcome = await _outcome(backend.post("extra-single-image", {"upscaler_1": "Resize Box"} | body))

            assert (outcome, server.exit_status) == ("gone", 137)


def _square(side: int) -> str:
    return as_base64(Image.new("L", (side, side)))


async def test_a_generation_of_absurd_size_is_200_without_images() -> None:
    async with in_process(instant()) as backend:
        reply = await backend.txt2img(width=10**6, height=10**6)

        assert (reply.status_code, reply.json()["images"]) == (200, [])


async def test_called_in_process_a_death_is_an_exception_and_not_an_answer() -> None:
    async with in_process(instant()) as backend:
        with pytest.raises(ConnectionAbortedError):
            await backend.post("img2img", SMALL | {"init_images": [png_header(20_000, 20_000)]})


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_process_at_once_with_status_0(number: signal.Signals) -> None:
    with a_process() as (process, url):
        assert httpx2.get(f"{url}/sdapi/v1/version").status_code == 200
        process.send_signal(number)

        assert process.wait(PATIENCE_S) == 0
        assert process.stdout is not None
        assert process.stdout.read() == ""


def test_a_job_in_flight_does_not_keep_the_process_alive() -> None:
    with a_process("--seconds-per-megapixel-step", "1000000") as (process, url), httpx2.Client(base_url=url) as http:
        with pytest.raises(httpx2.ReadTimeout):
            http.post("/sdapi/v1/txt2img", json=SMALL, timeout=0.5)
        process.send_signal(signal.SIGTERM)

        assert process.wait(PATIENCE_S) == 0


def test_the_pixel_bomb_ends_the_process_with_the_status_of_a_kill() -> None:
    with a_process("--time-scale", "0") as (process, url), httpx2.Client(base_url=url) as http:
        with pytest.raises(httpx2.HTTPError):
            http.post("/sdapi/v1/img2img", json=SMALL | {"init_images": [png_header(20_000, 20_000)]})

        assert process.wait(PATIENCE_S) == 137
