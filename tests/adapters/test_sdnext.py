"""HTTP to backends, over real sockets of the loopback interface."""

from __future__ import annotations

import asyncio
import gzip
import socket
import struct
from base64 import b64encode
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from gateway.adapters.sdnext import SdnextClient
from gateway.domain.backends import Backend
from gateway.domain.errors import (
    AttemptFailed,
    BackendAnswerTooLarge,
    BackendBroke,
    BackendTimedOut,
    BackendUnreachable,
)
from gateway.domain.jobs import Operation
from gateway.ports import AnswerBounds, RawReply
from tests.support.patience import PATIENCE_S
from tests.support.ports import free_port

OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"


@dataclass
class Server:
    """A server that reads whole requests and answers as its script says, one step for each request."""

    port: int
    script: list[bytes | Callable[[asyncio.StreamWriter], Awaitable[None]]]
    requests: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)
    connections: int = 0
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def backend(self) -> Backend:
        return Backend("a", f"http://127.0.0.1:{self.port}")

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                line, *rest = head.rstrip().split("\r\n")
                headers = {name.lower(): value for name, _, value in (text.partition(": ") for text in rest)}
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                self.requests.append((line, headers, body))
                step = self.script.pop(0) if self.script else OK
                if isinstance(step, bytes):
                    writer.write(step)
                    await writer.drain()
                else:
                    await step(writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            self.ended.set()
        finally:
            writer.close()


@asynccontextmanager
async def serving(*script) -> AsyncIterator[tuple[SdnextClient, Server]]:
    server = Server(0, list(script))
    listener = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    server.port = listener.sockets[0].getsockname()[1]
    client = SdnextClient()
    try:
        yield client, server
    finally:
        await client.close()
        listener.close()
        await server.ended.wait() if server.connections else None


async def reset(writer: asyncio.StreamWriter) -> None:
    """End the connection with RST, as the kernel does for a process that died."""
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def close(writer: asyncio.StreamWriter) -> None:
    writer.close()


def then(data: bytes, step: Callable[[asyncio.StreamWriter], Awaitable[None]]):
    """Send something, then do something."""

    async def both(writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        await writer.drain()
        await step(writer)

    return both


def generate(client: SdnextClient, backend: Backend, run_limit_s: float = PATIENCE_S, most_bytes: int = 1_000):
    return client.generate(backend, Operation.TXT2IMG, b'{"a":1}', AnswerBounds(run_limit_s, most_bytes))


async def test_a_job_is_sent_as_json_and_the_whole_answer_comes_back_as_it_was():
    async with serving() as (client, server):
        assert await generate(client, server.backend) == RawReply(200, b"{}", "application/json", "")
        ((line, headers, body),) = server.requests
        assert (line, body) == ("POST /sdapi/v1/txt2img HTTP/1.1", b'{"a":1}')
        assert (headers["content-type"], headers["accept-encoding"]) == ("application/json", "identity")
        assert "authorization" not in headers


async def test_reading_has_no_body_and_an_empty_post_says_so():
    async with serving() as (client, server):
        await client.get(server.backend, "/sdapi/v1/progress?skip_current_image=true", 5.0)
        await client.post(server.backend, "/sdapi/v1/interrupt", b"", 5.0)
        (read, _, _), (posted, headers, body) = server.requests
        assert read == "GET /sdapi/v1/progress?skip_current_image=true HTTP/1.1"
        assert (posted, headers["content-length"], body) == ("POST /sdapi/v1/interrupt HTTP/1.1", "0", b"")


@pytest.mark.parametrize("password", ["secret", "with:colon", "schlüssel€"])
async def test_a_password_is_sent_as_basic_credentials_in_utf_8(password):
    async with serving() as (client, server):
        await client.get(Backend("a", server.backend.url, "user", password), "/", 5.0)
        assert server.requests[0][1]["authorization"] == "Basic " + b64encode(f"user:{password}".encode()).decode()


@pytest.mark.parametrize("status", [201, 204, 400, 401, 404, 422, 500, 503])
async def test_any_status_is_an_answer_and_not_an_error(status):
    async with serving(f"HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n".encode()) as (client, server):
        assert (await generate(client, server.backend)).status == status


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_not_followed(status):
    async with serving(f"HTTP/1.1 {status} X\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n".encode()) as (
        client,
        server,
    ):
        assert (await generate(client, server.backend)).status == status
        assert len(server.requests) == 1


async def test_a_compressed_answer_is_told_and_not_unpacked():
    packed = gzip.compress(b"{}")
    head = f"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {len(packed)}\r\n\r\n"
    async with serving(head.encode() + packed) as (client, server):
        reply = await generate(client, server.backend)
        assert (reply.body, reply.content_encoding) == (packed, "gzip")


async def test_no_cookie_is_kept():
    cookie = b"HTTP/1.1 200 OK\r\nSet-Cookie: session=1; Path=/\r\nContent-Length: 0\r\n\r\n"
    async with serving(cookie) as (client, server):
        await generate(client, server.backend)
        await generate(client, server.backend)
        assert "cookie" not in server.requests[1][1]


async def test_no_proxy_is_taken_from_the_environment(monkeypatch):
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
    async with serving() as (client, server):
        assert (await generate(client, server.backend)).status == 200


async def test_one_connection_serves_many_calls():
    async with serving() as (client, server):
        for _ in range(5):
            await generate(client, server.backend)
        assert server.connections == 1


async def test_a_connection_that_the_server_has_closed_is_not_used_again():
    async with serving(then(OK, close)) as (client, server):
        await generate(client, server.backend)
        for _ in range(20):  # the end of the connection is read like any other news
            await asyncio.sleep(0)
        assert (await generate(client, server.backend)).status == 200
        assert server.connections == 2


async def test_an_idle_connection_is_given_up_before_sdnext_closes_it_at_five_seconds():
    async with serving() as (client, server):
        await generate(client, server.backend)
        asyncio.get_running_loop().call_later(4.8, (late := asyncio.Event()).set)
        ends = [asyncio.ensure_future(event.wait()) for event in (server.ended, late)]
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        ends[1].cancel()
        for _ in range(20):  # both were due if the machine stood still meanwhile; the end is read like any other news
            await asyncio.sleep(0)
        assert server.ended.is_set()


async def test_nobody_listening_is_unreachable():
    client = SdnextClient()
    with pytest.raises(BackendUnreachable):
        await generate(client, Backend("a", f"http://127.0.0.1:{free_port()}"))
    await client.close()


@pytest.mark.parametrize("url", ["http://name.invalid:7860", "http://:7860", "nonsense", "http://127.0.0.1:99999"])
async def test_an_address_that_cannot_be_is_unreachable(url):
    client = SdnextClient()
    with pytest.raises(BackendUnreachable):
        await generate(client, Backend("a", url))
    await client.close()


HALF = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"


@pytest.mark.parametrize(
    "step",
    [
        pytest.param(close, id="closed without an answer"),
        pytest.param(reset, id="reset without an answer"),
        pytest.param(then(b"HTTP/1.1 200 OK\r\nCont", close), id="closed in the head"),
        pytest.param(then(HALF, close), id="closed in the body"),
        pytest.param(then(HALF, reset), id="reset in the body"),
        pytest.param(
            then(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab", close), id="closed in a chunk"
        ),
        pytest.param(
            then(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nab\r\n", close), id="a chunk without size"
        ),
        pytest.param(then(b"SSH-2.0-OpenSSH_9.9\r\n\r\n", close), id="not HTTP"),
        pytest.param(then(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000 + b"\r\n\r\n", close), id="a head without an end"),
        pytest.param(then(b"HTTP/1.1 200 OK\r\nContent-Length: nan\r\n\r\n", close), id="a length that is none"),
    ],
)
async def test_an_answer_that_is_not_whole_is_broken_off_and_the_job_is_sent_once(step):
    async with serving(step) as (client, server):
        with pytest.raises(BackendBroke):
            await generate(client, server.backend)
        assert len(server.requests) == 1


OK_CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
MOST_SENT = 40_000_000  # what an endless answer sends before its test gives up


def endless(start: bytes, piece: bytes):
    """An answer without an end: back when the client closes the connection, an AssertionError if it never does."""

    async def send(writer: asyncio.StreamWriter) -> None:
        writer.write(start)
        for _ in range(MOST_SENT // len(piece)):
            writer.write(piece)
            await writer.drain()
        raise AssertionError("the client reads on and on")

    return send


@pytest.mark.parametrize(
    "step",
    [
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 3000000000\r\n\r\n{", id="3 GB announced"),
        pytest.param(endless(b"HTTP/1.1 200 OK\r\nContent-Length: 3000000000\r\n\r\n", b"x" * 9000), id="3 GB sent"),
        pytest.param(endless(b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 9000), id="until it closes"),
        pytest.param(endless(OK_CHUNKED, b"2328\r\n" + b"x" * 9000 + b"\r\n"), id="chunks"),
        pytest.param(endless(OK_CHUNKED + b"ffffffff\r\n", b"x" * 9000), id="one chunk"),
        pytest.param(
            endless(b"HTTP/1.1 500 X\r\nContent-Encoding: gzip\r\n\r\n", b"x" * 9000), id="compressed, an error"
        ),
    ],
)
async def test_an_answer_larger_than_it_can_be_is_not_read_on_and_its_connection_is_closed(step):
    async with serving(step) as (client, server):
        with pytest.raises(BackendAnswerTooLarge, match="larger than"):
            await generate(client, server.backend, most_bytes=100_000)
        await server.ended.wait()
        assert (await generate(client, server.backend)).status == 200
        assert server.connections == 2


@pytest.mark.parametrize(
    "step",
    [
        pytest.param(endless(b"HTTP/1.1 200 OK\r\n", b"X: y\r\n" * 100), id="headers"),
        pytest.param(endless(b"HTTP/1.1 200 OK\r\nX: ", b"y" * 9000), id="a header"),
        pytest.param(endless(b"HTTP/1.1 ", b"2" * 9000), id="a status"),
        pytest.param(endless(OK_CHUNKED + b"0\r\n", b"X: y\r\n" * 100), id="trailers"),
    ],
)
async def test_a_head_without_an_end_is_broken_off(step):
    async with serving(step) as (client, server):
        with pytest.raises(BackendBroke):
            await generate(client, server.backend)
        await server.ended.wait()


async def test_an_answer_of_just_the_largest_size_is_whole():
    body = b"x" * 100_000
    async with serving(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + body) as (client, server):
        assert (await generate(client, server.backend, most_bytes=len(body))).body == body


async def test_a_list_is_bound_too():
    async with serving(endless(b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 90_000)) as (client, server):
        with pytest.raises(BackendAnswerTooLarge, match=r"16\.0 MB"):
            await client.get(server.backend, "/sdapi/v1/sd-models", 60.0)
        await server.ended.wait()


async def test_a_job_is_not_sent_again_on_a_connection_that_dies_under_it():
    async with serving(OK, reset) as (client, server):
        await generate(client, server.backend)
        with pytest.raises(BackendBroke):
            await generate(client, server.backend)
        assert len(server.requests) == 2


@pytest.mark.parametrize("sent", [b"", b"HTTP/1.1 200 OK\r\n", HALF])
async def test_an_answer_that_does_not_end_in_time_is_a_time_out(sent):
    async def hang(writer: asyncio.StreamWriter) -> None:
        writer.write(sent)
        await asyncio.Event().wait()

    server = Server(0, [hang])
    listener = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    server.port = listener.sockets[0].getsockname()[1]
    client = SdnextClient()
    before = asyncio.all_tasks()
    with pytest.raises(BackendTimedOut, match="within"):
        await generate(client, server.backend, run_limit_s=0.2)
    await client.close()
    listener.close()
    for task in asyncio.all_tasks() - before:
        task.cancel()


async def test_a_cancelled_call_stays_cancelled_and_its_connection_is_not_used_again():
    waiting = asyncio.Event()

    async def hang(_writer: asyncio.StreamWriter) -> None:
        waiting.set()

    async with serving(hang) as (client, server):
        call = asyncio.get_running_loop().create_task(generate(client, server.backend))
        await waiting.wait()
        call.cancel()
        await asyncio.wait([call])
        assert call.cancelled()
        assert (await generate(client, server.backend)).status == 200
        assert server.connections == 2


async def test_a_hundred_calls_at_once_share_no_limit():
    async with serving() as (client, server):
        answers = await asyncio.gather(*(generate(client, server.backend) for _ in range(100)))
        assert {answer.status for answer in answers} == {200}
        assert server.connections > 50


async def test_no_error_tells_the_address_or_the_password():
    client = SdnextClient()
    backend = Backend("a", f"http://127.0.0.1:{free_port()}", "user", "hunter2")
    with pytest.raises(AttemptFailed) as failed:
        await generate(client, backend)
    assert "127.0.0.1" not in str(failed.value)
    assert "hunter2" not in str(failed.value)
    await client.close()


async def test_a_backend_that_sends_interim_answers_for_ever_is_left_at_once():
    async with serving(b"HTTP/1.1 102 Processing\r\n\r\n" * 1_000 + OK) as (client, server):
        with pytest.raises(BackendBroke):
            await client.generate(server.backend, Operation.TXT2IMG, b"{}", AnswerBounds(PATIENCE_S, 100))


async def test_a_few_interim_answers_before_each_of_many_answers_are_read_over():
    few = b"HTTP/1.1 102 Processing\r\n\r\n" * 3 + OK
    async with serving(*[few] * 10) as (client, server):
        replies = [await client.get(server.backend, "/", PATIENCE_S) for _ in range(10)]
        assert {reply.body for reply in replies} == {b"{}"}
        assert server.connections == 1
