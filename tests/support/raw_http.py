"""HTTP as bytes: requests in every form that readers have disagreed about, and a strict reader of answers.

A form says how many calls of its own it holds. Its bodies look like requests (`X-Request-Id: hidden-...`): one that is
run shows that the end of a body was seen in the wrong place.
"""

from __future__ import annotations

import itertools
import select
import socket
from collections.abc import Iterator
from dataclasses import dataclass

from tests.support.patience import PATIENCE_S

CALLER = "sk-caller-0123456789abcdefghij"  # whose key every request here bears
OFFERS = {
    "no upgrade": b"",
    "h2c": b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAAAAIAAAAB\r\n",
    "websocket": b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n",
    "a word": b"connection: keep-alive, UPGRADE\r\nUPGRADE: tls/1.0, foo\r\n",
    "doubled": b"Upgrade: a\r\nConnection: x\r\nConnection: upgrade\r\nUpgrade: b\r\n",
}
_AS = f"Authorization: Bearer {CALLER}\r\n".encode()
_HIDDEN_HEAD = b"POST /sdapi/v1/txt2img HTTP/1.1\r\nHost: h\r\nX-Request-Id: hidden-%s\r\n"
_BODIES = {
    "a request": b"\r\n\r\n" + _HIDDEN_HEAD + _AS + b"Content-Length: 0\r\n\r\n",
    "a request at once": _HIDDEN_HEAD + _AS + b"Content-Length: 0\r\n\r\n",
    "many requests": (_HIDDEN_HEAD + _AS + b"Content-Length: 0\r\n\r\n") * 700,  # more than a proxy sends at once
    "json": b'{"prompt": "hidden-%s"}',
}


@dataclass(frozen=True, slots=True)
class Form:
    """`pieces` are sent one after the other. `ids`: of the calls in it, in order, each with an answer of its own.

    `is_valid`: each of them must be answered, also behind a proxy, and the connection goes on unless it `closes`.
    Otherwise the gateway refuses or ends the last of them, and the connection; `starts` is how many calls it begins
    then. A proxy may refuse more, or put right what it can and pass on the request and the one behind it.
    """

    name: str
    pieces: tuple[bytes, ...]
    ids: tuple[str, ...]
    is_valid: bool = True
    body_bytes: int = 0  # of all its bodies, without chunks' sizes: what is read if it is valid
    closes: bool = False
    starts: int = 0
    breaks_off: bool = False  # the caller leaves without waiting for an answer
    only_directly: bool = False  # a proxy may take it for something else: HTTP/0.9, HTTP/2


def _chunked(body: bytes, cut: int, *, extension: bytes = b"", trailer: bytes = b"", size: bytes = b"%x") -> bytes:
    parts = [part for part in (body[:cut], body[cut:]) if part]
    lines = b"".join((size % len(part)) + extension + b"\r\n" + part + b"\r\n" for part in parts)
    return b"Transfer-Encoding: chunked\r\n\r\n" + lines + b"0\r\n" + trailer + b"\r\n"


def _framings(body: bytes) -> dict[str, bytes]:
    trailer = b"X-Request-Id: hidden-trailer\r\nUpgrade: x\r\n"
    return {
        "length": b"Content-Length: %d\r\n\r\n%s" % (len(body), body),
        "length with blanks": b"content-LENGTH:   %d  \r\n\r\n%s" % (len(body), body),
        "one chunk": _chunked(body, 0),
        "two chunks": _chunked(body, 7),
        "chunk extensions": _chunked(body, 20, extension=b';a=b;c="d e"'),
        "trailers": _chunked(body, 11, trailer=trailer),
        "long chunk sizes": _chunked(body, 3, size=b"0000%X"),
    }


def _head(line: bytes, name: str, *more: bytes) -> bytes:
    return line + b"\r\nHost: h\r\nX-Request-Id: " + name.encode() + b"\r\n" + _AS + b"".join(more)


def _post(name: str, *more: bytes) -> bytes:
    return _head(b"POST /v1/explain HTTP/1.1", name, *more)


def _get(name: str, *more: bytes) -> bytes:
    return _head(b"GET /v1/account HTTP/1.1", name, *more) + b"\r\n"


def _behind(number: int) -> bytes:
    """A whole request. Directly it must never be run: what stands before it cannot be read."""
    return _get(f"behind-{number}", b"Connection: close\r\n")


def _split(sent: bytes, way: int) -> tuple[bytes, ...]:
    """Whole; behind the head; in its middle and into the body; byte by byte around the end of the head."""
    end = sent.index(b"\r\n\r\n") + 4
    cuts = ([], [end], [end // 2, end + 9], [end - 3, end - 2, end - 1, end, end + 1])[way % 4]
    return tuple(sent[start:stop] for start, stop in itertools.pairwise([0, *cuts, len(sent)]))


def valid_forms() -> Iterator[Form]:
    """Calls that any server must serve: every framing with every offer of an upgrade, alone and pipelined."""
    names = list(_framings(b""))
    grid = itertools.product(OFFERS, _BODIES, names, ("alone", "before a GET", "before its like", "closing"))
    for number, (offer, body, framing, place) in enumerate(grid):
        name = f"v{number}"
        content = _BODIES[body].replace(b"%s", name.encode())
        framed = _framings(content)[framing]
        first, second = f"{name}-1", f"{name}-2"
        sent, ids = _post(first, OFFERS[offer]) + framed, (first,)
        if place == "before a GET":
            sent, ids = sent + _get(second, OFFERS[offer]), (first, second)
        elif place == "before its like":
            sent, ids = sent + _post(second, OFFERS[offer]) + framed, (first, second)
        elif place == "closing":
            sent = _post(first, OFFERS[offer], b"Connection: close\r\n") + framed
        title = f"{offer}, {body} as {framing}, {place}, split {number % 4}"
        body_bytes = len(content) * (2 if place == "before its like" else 1)
        yield Form(title, _split(sent, number), ids, body_bytes=body_bytes, closes=place == "closing")


_LINES = {
    "no Host": (b"GET /v1/account HTTP/1.1\r\n" + _AS, b""),
    "two Hosts": (_head(b"GET /v1/account HTTP/1.1", "x"), b"Host: h\r\n"),
    "two different Hosts": (_head(b"GET /v1/account HTTP/1.1", "x"), b"host: g\r\n"),
    "a Host that is none": (b"GET /v1/account HTTP/1.1\r\nHost: h g\r\n" + _AS, b""),
    "a folded line": (_head(b"GET /v1/account HTTP/1.1", "x"), b"a: b\r\n c\r\n"),
    "a blank before the colon": (_head(b"GET /v1/account HTTP/1.1", "x"), b"Content-Length : 5\r\n"),
    "a bare CR": (_head(b"GET /v1/account HTTP/1.1", "x"), b"a: b\rContent-Length: 5\r\n"),
    "a NUL": (_head(b"GET /v1/account HTTP/1.1", "x"), b"a: b\x00c\r\n"),
    "no colon": (_head(b"GET /v1/account HTTP/1.1", "x"), b"Content-Length\r\n"),
    "no name": (_head(b"GET /v1/account HTTP/1.1", "x"), b": a\r\n"),
    "CONNECT": (_head(b"CONNECT h:443 HTTP/1.1", "x"), b""),
    "a star": (_head(b"GET * HTTP/1.1", "x"), b""),
    "a word as target": (_head(b"GET account HTTP/1.1", "x"), b""),
    "credentials in the target": (_head(b"GET http://u:p@h/v1/account HTTP/1.1", "x"), b""),
    "another scheme": (_head(b"GET ftp://h/v1/account HTTP/1.1", "x"), b""),
    "a control character in the target": (_head(b"GET /v1/account\x01 HTTP/1.1", "x"), b""),
    "an unknown method": (_head(b"G\x80T /v1/account HTTP/1.1", "x"), b""),
    "HTTP/1.2": (_head(b"GET /v1/account HTTP/1.2", "x"), b""),
    "HTTP/2.0": (_head(b"GET /v1/account HTTP/2.0", "x"), b""),
    "HTTP/0.9": (b"GET /v1/account\r\n", b""),
    "HTTP/2's preface": (b"PRI * HTTP/2.0\r\n", b""),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n", b""),
}
_LENGTHS = (
    b"Content-Length: 4\r\nContent-Length: 4", b"Content-Length: 4\r\nContent-Length: 50",
    b"Content-Length: 4\r\nTransfer-Encoding: chunked", b"Transfer-Encoding: chunked\r\nContent-Length: 4",
    b"Content-Length: +4", b"Content-Length: -4", b"Content-Length: 4,4", b"Content-Length: 4, 50",
    b"Content-Length: 0x4", b"Content-Length: 4_0", b"Content-Length: 4 0", b"Content-Length: ",
    b"Content-Length: 99999999999999999999999", b"Content-Length:\r\n 4", b"Transfer-Encoding: identity",
    b"Transfer-Encoding: xchunked", b"Transfer-Encoding: chunked, identity", b"Transfer-Encoding: identity, chunked",
    b"Transfer-Encoding: chunked, chunked", b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
    b"Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked", b"Transfer-Encoding: chunked;q=1",
    b'Transfer-Encoding: "chunked"', b"Transfer-Encoding:\x0bchunked", b"Transfer-Encoding : chunked",
    b"Transfer-Encoding:\r\n chunked", b"Transfer-Encoding:",
)  # fmt: skip
_CHUNKS = (
    b"g\r\nbody\r\n", b"-4\r\nbody\r\n", b"+4\r\nbody\r\n", b"0x4\r\nbody\r\n", b"4\nbody\n0\n\n", b"4\rbody\r\n",
    b"4\r\nbodyX", b"4\r\nbody0\r\n\r\n", b"4;\x00\r\nbody\r\n", b"FFFFFFFFFFFFFFFFF\r\nbody\r\n",
    b"10000000000000004\r\nbody\r\n", b"4\r\nbody\r\n0\r\n bad\r\n\r\n", b"4\r\nbody\r\n0\r\n\rX", b"\r\n4\r\nbody\r\n",
)  # fmt: skip


def invalid_forms() -> Iterator[Form]:
    """What must be refused, with a request behind it that must never be run."""
    number = itertools.count()
    only_directly = {"HTTP/0.9", "HTTP/2's preface", "HTTP/2.0", "TLS"}
    for offer, (name, (head, line)) in itertools.product(OFFERS, _LINES.items()):
        behind = _behind(next(number))
        sent = head + line + OFFERS[offer] + b"\r\n"
        if name == "HTTP/2's preface":
            sent = head + b"\r\nSM\r\n\r\n"
        yield Form(f"{name}, {offer}", (sent + behind,), (), is_valid=False, only_directly=name in only_directly)
    for offer, length in itertools.product(OFFERS, _LENGTHS):
        chunk = b"\r\n\r\n4\r\nbody\r\n0\r\n\r\n"
        sent = _post("x", OFFERS[offer], length) + chunk + _behind(next(number))
        yield Form(f"{length!r}, {offer}", (sent,), (), is_valid=False)
    for offer, chunks in itertools.product(OFFERS, _CHUNKS):
        one = next(number)
        sent = _post(f"i{one}", OFFERS[offer], b"Transfer-Encoding: chunked\r\n\r\n") + chunks
        pieces = (sent + _behind(one),) if one % 2 else (*_split(sent, 1), _behind(one))
        yield Form(f"{chunks!r}, {offer}", pieces, (f"i{one}",), is_valid=False, starts=1)


def unfinished_forms() -> Iterator[Form]:
    """Callers who leave in the middle of a head or a body, which may look like a request as far as it came."""
    number = itertools.count()
    for offer, framing in itertools.product(OFFERS, ("length", "one chunk", "two chunks")):
        one = next(number)
        hidden = _get(f"hidden-u{one}")
        whole = _post(f"u{one}", OFFERS[offer]) + _framings(hidden + b"x" * 100)[framing]
        end = whole.index(b"\r\n\r\n")
        for cut, starts in ((end - 5, 0), (end + 4, 1), (end + 30, 1), (len(whole) - 20, 1)):
            name = f"the first {cut} bytes of {offer} with {framing}"
            yield Form(name, (whole[:cut],), (), is_valid=False, starts=starts, breaks_off=True)


@dataclass(frozen=True, slots=True)
class SlowForm:
    """`at_once` is sent, then `drop` twice a second, until an answer with `status` comes; 0: a close without one."""

    name: str
    at_once: bytes
    drop: bytes
    status: int


def slow_forms() -> Iterator[SlowForm]:
    """Callers who would hold a connection for ever: silent, or byte after byte, in every part of a request."""
    for offer, fields in OFFERS.items():
        length = _post("s", fields, b"Content-Length: 9999\r\n\r\n")
        chunked = _post("s", fields, b"Transfer-Encoding: chunked\r\n\r\n")
        yield SlowForm(f"half a head, {offer}", length[:-2], b"", 408)
        yield SlowForm(f"a head byte by byte, {offer}", length[:-2], b"x", 408)
        yield SlowForm(f"half a body, {offer}", length + b"x" * 5_000, b"", 408)
        yield SlowForm(f"a body byte by byte, {offer}", length, b"x", 408)
        yield SlowForm(f"chunk by chunk, {offer}", chunked, b"1\r\nx\r\n", 408)
        yield SlowForm(f"a chunk's extension, {offer}", chunked + b"1;", b"x", 408)
        yield SlowForm(f"a chunk's size, {offer}", chunked, b"0", 408)
        yield SlowForm(f"a trailer, {offer}", chunked + b"0\r\nx: ", b"x", 408)
    yield SlowForm("nothing", b"", b"", 0)
    yield SlowForm("empty lines", b"", b"\r\n", 0)


# --- answers --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer; `headers` with names in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


class Wire:
    """A connection that reads answers strictly: AssertionError for what is none, None at the end of the connection."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._read = b""

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *_error: object) -> None:
        self._socket.close()

    def send(self, *pieces: bytes) -> None:
        """Send each by itself. Whoever refuses early may have closed: its answer counts, so that nothing is raised."""
        try:
            for piece in pieces:
                self._socket.sendall(piece)
        except (ConnectionResetError, BrokenPipeError):
            return

    def answer(self) -> Answer | None:
        """The next final answer."""
        while True:
            head = self._until(b"\r\n\r\n")
            if head is None:
                return None
            first, *lines = head.decode("latin-1").split("\r\n")
            version, status, *_ = first.split(" ")
            assert version == "HTTP/1.1", first
            assert all(": " in line or line.endswith(":") for line in lines), lines
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
            if int(status) >= 200:
                return Answer(int(status), headers, self._body(headers))

    def has_more(self, within_s: float) -> bool:
        """Whether anything, or the end of the connection, comes within that time."""
        return bool(select.select([self._socket], [], [], within_s)[0])

    def _body(self, headers: dict[str, str]) -> bytes:
        if headers.get("transfer-encoding") != "chunked":
            return self._exactly(int(headers["content-length"]))
        body = b""
        while True:
            size = self._until(b"\r\n")
            assert size is not None
            part = self._exactly(int(size, 16))
            assert self._exactly(2) == b"\r\n"
            body += part
            if not part:
                return body

    def _until(self, mark: bytes) -> bytes | None:
        while mark not in self._read:
            if not self._more():
                assert self._read == b"", self._read
                return None
        found, _, self._read = self._read.partition(mark)
        return found

    def _exactly(self, count: int) -> bytes:
        while len(self._read) < count:
            assert self._more(), f"{count} bytes were announced, these came: {self._read!r}"
        found, self._read = self._read[:count], self._read[count:]
        return found

    def _more(self) -> bool:
        try:
            chunk = self._socket.recv(65536)
        except ConnectionResetError:
            return False
        self._read += chunk
        return bool(chunk)
