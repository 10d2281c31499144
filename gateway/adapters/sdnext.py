"""HTTP to SD.Next servers: the only place that imports aiohttp. Fulfils `ports.BackendClient`.

SD.Next closes an idle connection after 5.00 s (observed), so ours are given up before; redirects would lead to
addresses of
the backend's own making and are not followed; no answer is decompressed, because none was asked to be compressed.
An answer is read only as far as it can honestly go: its connection is closed at the first byte beyond.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from io import BytesIO

import aiohttp
from aiohttp.client_proto import ResponseHandler

from gateway.domain.backends import Backend
from gateway.domain.errors import BackendAnswerTooLarge, BackendBroke, BackendTimedOut, BackendUnreachable
from gateway.domain.jobs import Operation
from gateway.ports import MOST_LIST_BYTES, AnswerBounds, RawReply

IDLE_S = 3.5
CONNECT_S = 3.0
API = "/sdapi/v1/"
PIECE_BYTES = 1 << 18
MOST_INTERIM = 32  # 1xx answers before one that counts; SD.Next sends none
HEADERS = {"Accept-Encoding": "identity", "Content-Type": "application/json"}


class _Connection(ResponseHandler):
    """A connection that is closed on a backend that goes on sending 1xx answers: aiohttp reads any number of them."""

    _interim = 0

    def feed_data(self, data: tuple[aiohttp.http.RawResponseMessage, aiohttp.StreamReader], size: int = 0) -> None:
        """Take the head of a parsed answer; from the one beyond the limit on, none."""
        if self._interim > MOST_INTERIM:
            return
        self._interim = self._interim + 1 if data[0].code // 100 == 1 else 0
        if self._interim > MOST_INTERIM:
            self.close()  # whoever waits is told that the server has disconnected
        else:
            super().feed_data(data, size)


def _connector() -> aiohttp.TCPConnector:
    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=IDLE_S, ttl_dns_cache=30)
    # aiohttp has no public way to choose this class; a test fails when this one no longer works.
    connector._factory = lambda: _Connection(asyncio.get_running_loop())  # type: ignore[assignment] # noqa: SLF001
    return connector


class SdnextClient:
    """One session for all backends; `close` it at the end. `outgoing` gives further headers for each request."""

    def __init__(self, outgoing: Callable[[], Mapping[str, str]] = dict) -> None:
        self._outgoing = outgoing
        self._session = aiohttp.ClientSession(
            connector=_connector(),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S),
        )

    async def generate(self, backend: Backend, operation: Operation, body: bytes, bounds: AnswerBounds) -> RawReply:
        """Send one job and read the whole answer, within its bounds."""
        return await self._request(backend, "POST", API + operation, body, bounds)

    async def get(self, backend: Backend, path: str, timeout_s: float) -> RawReply:
        """Read a route of the backend."""
        return await self._request(backend, "GET", path, None, AnswerBounds(timeout_s, MOST_LIST_BYTES))

    async def post(self, backend: Backend, path: str, body: bytes, timeout_s: float) -> RawReply:
        """Post to a route of the backend; an empty body is sent as none."""
        return await self._request(backend, "POST", path, body or None, AnswerBounds(timeout_s, MOST_LIST_BYTES))

    async def close(self) -> None:
        """Close every connection."""
        await self._session.close()

    async def _request(
        self, backend: Backend, method: str, path: str, body: bytes | None, bounds: AnswerBounds
    ) -> RawReply:
        headers = {**HEADERS, **self._outgoing()}
        if backend.username:
            headers["Authorization"] = aiohttp.encode_basic_auth(backend.username, backend.password, "utf-8")
        if body is not None:
            headers["Content-Length"] = str(len(body))
        try:
            async with (
                asyncio.timeout(bounds.run_limit_s),
                self._session.request(
                    method,
                    backend.url + path,
                    data=body if body is None or len(body) <= PIECE_BYTES else pieces(body),
                    headers=headers,
                    allow_redirects=False,
                ) as response,
            ):
                return RawReply(
                    status=response.status,
                    body=await _whole(response, bounds.most_bytes),
                    content_type=response.headers.get("Content-Type", ""),
                    content_encoding=response.headers.get("Content-Encoding", ""),
                    date=response.headers.get("Date", ""),
                )
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError, aiohttp.InvalidURL) as error:
            raise BackendUnreachable("The backend cannot be reached.") from error
        except TimeoutError as error:
            raise BackendTimedOut(f"The backend gave no answer within {bounds.run_limit_s:.0f} s.") from error
        except (aiohttp.ClientError, OSError) as error:
            raise BackendBroke("The backend broke off before its answer was complete.") from error


async def _whole(response: aiohttp.ClientResponse, most_bytes: int) -> bytes:
    """The answer's body. Raises BackendAnswerTooLarge, before it is read where its length is announced."""
    too_large = BackendAnswerTooLarge(f"its answer is larger than {most_bytes / 1_000_000:.1f} MB, the most it can be")
    if (response.content_length or 0) > most_bytes:
        response.close()
        raise too_large
    body = BytesIO()  # shares its bytes in the end: joining a list of pieces would hold all of them twice
    async for piece in response.content.iter_any():
        if body.tell() + len(piece) > most_bytes:
            response.close()
            raise too_large
        body.write(piece)
    return body.getvalue()


async def pieces(body: bytes) -> AsyncIterator[memoryview]:
    """The body in pieces that are not copies, so that other calls have their turn while a large one is written."""
    view = memoryview(body)
    for start in range(0, len(body), PIECE_BYTES):
        yield view[start : start + PIECE_BYTES]
