"""HTTP to SD.Next servers: the only place that imports aiohttp. Fulfils `ports.BackendClient`.

SD.Next closes an idle connection after 5.00 s (observed), so ours are given up before; redirects would lead to
addresses of
the backend's own making and are not followed; no answer is decompressed, because none was asked to be compressed.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping

import aiohttp

from gateway.domain.backends import Backend
from gateway.domain.errors import BackendBroke, BackendTimedOut, BackendUnreachable
from gateway.domain.jobs import Operation
from gateway.ports import RawReply

IDLE_S = 3.5
CONNECT_S = 3.0
API = "/sdapi/v1/"
PIECE_BYTES = 1 << 18
HEADERS = {"Accept-Encoding": "identity", "Content-Type": "application/json"}


class SdnextClient:
    """One session for all backends; `close` it at the end. `outgoing` gives further headers for each request."""

    def __init__(self, outgoing: Callable[[], Mapping[str, str]] = dict) -> None:
        self._outgoing = outgoing
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=IDLE_S, ttl_dns_cache=30),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S),
        )

    async def generate(self, backend: Backend, operation: Operation, body: bytes, run_limit_s: float) -> RawReply:
        """Send one job and read the whole answer, within `run_limit_s` seconds."""
        return await self._request(backend, "POST", API + operation, body, run_limit_s)

    async def get(self, backend: Backend, path: str, timeout_s: float) -> RawReply:
        """Read a route of the backend."""
        return await self._request(backend, "GET", path, None, timeout_s)

    async def post(self, backend: Backend, path: str, body: bytes, timeout_s: float) -> RawReply:
        """Post to a route of the backend; an empty body is sent as none."""
        return await self._request(backend, "POST", path, body or None, timeout_s)

    async def close(self) -> None:
        """Close every connection."""
        await self._session.close()

    async def _request(
        self, backend: Backend, method: str, path: str, body: bytes | None, timeout_s: float
    ) -> RawReply:
        headers = {**HEADERS, **self._outgoing()}
        if backend.username:
            headers["Authorization"] = aiohttp.encode_basic_auth(backend.username, backend.password, "utf-8")
        if body is not None:
            headers["Content-Length"] = str(len(body))
        try:
            async with (
                asyncio.timeout(timeout_s),
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
                    body=await response.read(),
                    content_type=response.headers.get("Content-Type", ""),
                    content_encoding=response.headers.get("Content-Encoding", ""),
                    date=response.headers.get("Date", ""),
                )
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError, aiohttp.InvalidURL) as error:
            raise BackendUnreachable("The backend cannot be reached.") from error
        except TimeoutError as error:
            raise BackendTimedOut(f"The backend gave no answer within {timeout_s:.0f} s.") from error
        except (aiohttp.ClientError, OSError) as error:
            raise BackendBroke("The backend broke off before its answer was complete.") from error


async def pieces(body: bytes) -> AsyncIterator[memoryview]:
    """The body in pieces that are not copies, so that other calls have their turn while a large one is written."""
    view = memoryview(body)
    for start in range(0, len(body), PIECE_BYTES):
        yield view[start : start + PIECE_BYTES]
