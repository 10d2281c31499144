"""What happens to every request at the edge, before routing and after the answer.

Its id, its caller's address, the form of its path, the key that may stand in it, what pages of other sites are told,
and what becomes of errors that nobody else answers. All answers pass here, so that none lacks its headers.
"""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import Mapping, Sequence

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.api.addresses import Network, caller_address
from gateway.api.cors import Cors, Headers
from gateway.api.errors import CallerLeft, answer_to, each_error, unexpected_answer
from gateway.api.limits import count_stranger
from gateway.api.refusals import Refusals
from gateway.domain.errors import GatewayError, without_frames
from gateway.ports import Log

_REQUEST_ID = re.compile(rb"[A-Za-z0-9_.:-]{1,64}")
_KEY_IN_PATH = re.compile(r"/k/([^/]+)(/.*)?")
_FORWARDED_FOR = b"x-forwarded-for"
_LEFT = CallerLeft | ClientDisconnect
_NO_DEFECT = GatewayError | _LEFT


class Edge:
    """The outermost layer of the application.

    It leaves in `request.state`: `request_id`, `arrived_at` (the loop's seconds), `path_key` (the key of `/k/KEY/...`,
    taken out of the path so that nothing logs it), and `answer_headers`, which every answer to this request bears,
    also one that is made outside the application. `request.client` is the caller, also behind trusted proxies.
    """

    def __init__(self, app: ASGIApp, cors: Cors, trusted: Sequence[Network], log: Log) -> None:
        self._app = app
        self._cors = cors
        self._trusted = trusted
        self._log = log
        self._refusals = Refusals(log)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on; whatever happens its answer has an id, and nothing is raised but a cancellation."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = dict(scope["headers"])
        self._prepare(scope, given)
        answer = _Answer(send, scope["state"]["answer_headers"])
        try:
            if scope["method"] == "OPTIONS":
                count_stranger(scope)
                await answer.empty(self._cors.preflight(given))
                return
            await self._app(scope, receive, answer.send)
        except Exception as error:  # noqa: BLE001 - the last one who can tell anybody
            await self._failed(error, answer, scope, receive)
            without_frames(error)
        if answer.status >= 400:  # noqa: PLR2004 - what HTTP calls an error
            self._refusals.told(scope, answer.status)

    def _prepare(self, scope: Scope, given: dict[bytes, bytes]) -> None:
        request_id = request_id_of(given)
        path, key = _as_meant(scope["path"])
        scope["path"], scope["raw_path"] = path, path.encode()
        scope["client"] = self._client(scope)
        scope.setdefault("state", {}).update(
            request_id=request_id.decode(),
            arrived_at=asyncio.get_running_loop().time(),
            path_key=key,
            answer_headers=[(b"x-request-id", request_id), *self._cors.headers(given.get(b"origin"))],
        )

    def _client(self, scope: Scope) -> tuple[str, int] | None:
        peer: tuple[str, int] | None = scope.get("client")
        lines = [value.decode("latin-1") for name, value in scope["headers"] if name == _FORWARDED_FOR]
        address = caller_address(peer[0] if peer else "", lines, self._trusted)
        return (address, peer[1]) if peer and address else None

    async def _failed(self, raised: Exception, answer: _Answer, scope: Scope, receive: Receive) -> None:
        """Answer what nobody did, and log once what is a defect of ours."""
        state = scope["state"]
        where = {"request_id": state["request_id"], "method": scope["method"], "path": scope["path"]}
        error = only_error(raised)
        if isinstance(error, _LEFT):
            cause = only_error(error.__cause__) if error.__cause__ is not None else None
            if cause is not None and not isinstance(cause, _NO_DEFECT | asyncio.CancelledError):
                self._log.failed("giving_up_failed", cause, **where)
            return
        if isinstance(error, GatewayError):
            state["error"] = error
            response = answer_to(error)
        else:
            self._log.failed("call_failed", error, **where)
            response = unexpected_answer()
        # Half an answer cannot be taken back: returning without its end closes the connection.
        if not answer.status:
            await response(scope, receive, answer.send)


class _Answer:
    """The way out of one request: adds the headers that every answer bears. `status` is 0 until one has begun."""

    def __init__(self, send: Send, headers: Headers) -> None:
        self._send = send
        self._headers = headers
        self.status = 0

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message["headers"] = [*message.get("headers", ()), *self._headers]
        await self._send(message)

    async def empty(self, headers: Headers) -> None:
        await self.send(
            {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0"), *headers]}
        )
        await self.send({"type": "http.response.body", "body": b""})


def request_id_of(given: Mapping[bytes, bytes]) -> bytes:
    """The id of a request with these headers (names in lower case): the caller's own when it is harmless."""
    request_id = given.get(b"x-request-id", b"")
    return request_id if _REQUEST_ID.fullmatch(request_id) else secrets.token_hex(8).encode()


def only_error(raised: BaseException) -> BaseException:
    """The error itself. Of those in groups the first that is a defect, else that the caller left, else the first."""
    found = list(each_error(raised))
    defects = [error for error in found if not isinstance(error, _NO_DEFECT)]
    left = [error for error in found if isinstance(error, _LEFT)]
    return [*defects, *left, *found][0]


def _as_meant(path: str) -> tuple[str, str | None]:
    """`//sdapi/v1/txt2img/` is `/sdapi/v1/txt2img`: clients join addresses carelessly. And the key in it, if any."""
    if "//" in path:
        path = re.sub("/{2,}", "/", path)
    found = _KEY_IN_PATH.fullmatch(path)
    path = (found[2] or "/") if found else path
    return path.rstrip("/") or "/", found[1] if found else None
