"""Why a store that was asked for the first time did not do it: refused for good, or not there yet.

Who refuses (a password, a protocol, a right) refuses the next second, too: the start fails with the reason. Who is not
there, starts or fails over is waited for, with the reason. Decision 0059.
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import Iterator

from redis.asyncio.connection import SSLConnection, parse_url
from redis.exceptions import (
    AskError,
    AuthenticationError,
    AuthorizationError,
    BusyLoadingError,
    ClusterError,
    InvalidResponse,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    ResponseError,
    TryAgainError,
)

_THE_REDIS = "The Redis of GATEWAY_REDIS_URL"
_PROBE_S = 1.0
_LONGEST = 200
# What passes, and what is said of it: first match wins.
_PASSING: tuple[tuple[type[Exception], str], ...] = (
    (BusyLoadingError, "it still loads its data"),
    (ReadOnlyError, "it is a replica and takes no writes"),
    (OutOfMemoryError, "it is out of memory"),
    (ClusterError, "its cluster is not whole"),
    (AskError, "another server of its cluster is meant"),
    (TryAgainError, "its cluster moves keys"),
)
_PASSING_WORDS = ("BUSY", "MISCONF", "NOREPLICAS", "UNKILLABLE")


async def refusal(url: str, error: BaseException) -> str:
    """The sentence for a store that refuses for good, "" for one that may yet come. Asks it again about TLS."""
    said = next(filter(None, (_refusal(url, cause) for cause in _causes(error))), "")
    return f"{_THE_REDIS} {said}" if said else await _wrong_transport(url)


def waiting(error: BaseException) -> str:
    """The sentence for a store that may yet come. Holds no foreign text: `/readyz` shows it to everybody."""
    why = next(filter(None, map(_passing, _causes(error))), "")
    return (
        f"{_THE_REDIS} has not answered since this process started{f' ({why})' if why else ''}. Start it, or "
        "correct its address; the gateway asks once a second and begins by itself."
    )


def _passing(error: BaseException) -> str:
    for kind, words in _PASSING:
        if isinstance(error, kind):
            return words
    if isinstance(error, ResponseError):
        return "it is busy, or takes no writes"
    if isinstance(error, socket.gaierror):
        return "its name is not known"
    return os.strerror(error.errno).lower() if isinstance(error, OSError) and error.errno else ""


def _causes(error: BaseException) -> Iterator[BaseException]:
    seen: BaseException | None = error
    while seen is not None:
        yield seen
        seen = seen.__cause__ or seen.__context__


def _refusal(url: str, error: BaseException) -> str:
    """How this one error goes on after "The Redis ...", "" if it is no refusal for good."""
    said = ""
    match error:
        case AuthenticationError() | AuthorizationError() if parse_url(url).get("password"):
            said = "refuses the user or the password that stand there. Correct them."
        case AuthenticationError() | AuthorizationError():
            said = "asks for a password and none is given. Write redis://:PASSWORD@HOST, or redis://USER:PASSWORD@HOST."
        case NoPermissionError():
            said = f"gives the gateway's user too few rights ({_short(error)}). Give it all keys and commands."
        case InvalidResponse():
            said = "does not speak Redis's protocol: another program listens there. Correct the address."
        case ssl.SSLCertVerificationError():
            said = (
                f"has a certificate that is not trusted ({error.verify_message}). Mend that, or add ?ssl_ca_certs=FILE."
            )
        case PermissionError():
            said = "may not be used by this user. Correct the rights of its socket."
        case ResponseError() if not _passes(error):
            said = _of_answer(str(error))
    return said


def _passes(error: ResponseError) -> bool:
    return isinstance(error, tuple(kind for kind, _ in _PASSING)) or str(error).startswith(_PASSING_WORDS)


def _of_answer(told: str) -> str:
    if told.startswith("DENIED"):
        return (
            "is in protected mode: it refuses other machines until it has a password. Set one there (requirepass) and "
            "write it into the address."
        )
    return f"refuses the gateway ({_short(told)}). Correct its configuration, or the address."


async def _wrong_transport(url: str) -> str:
    """Whether only TLS is spoken where the address says none, or the other way round; "" for neither."""
    where = parse_url(url)
    if "path" in where:
        return ""
    wants_tls = where.get("connection_class") is SSLConnection
    host, port = str(where.get("host", "localhost")), int(where.get("port", 6379))
    if wants_tls and await _speaks_plain(host, port):
        return f"{_THE_REDIS} speaks no TLS, which rediss:// asks for. Write redis://, or set up TLS there."
    if not wants_tls and not await _speaks_plain(host, port) and await _speaks_tls(host, port):
        return f"{_THE_REDIS} speaks TLS only. Write rediss:// instead of redis://."
    return ""


async def _speaks_plain(host: str, port: int) -> bool:
    """Whether a PING is answered in Redis's protocol, if only by a refusal."""
    try:
        async with asyncio.timeout(_PROBE_S):
            reader, writer = await asyncio.open_connection(host, port)
            try:
                writer.write(b"PING\r\n")
                return await reader.read(1) in (b"+", b"-")
            finally:
                writer.close()
    except OSError:
        return False


async def _speaks_tls(host: str, port: int) -> bool:
    unverified = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    unverified.check_hostname, unverified.verify_mode = False, ssl.CERT_NONE  # nothing is sent over it
    try:
        async with asyncio.timeout(_PROBE_S):
            _, writer = await asyncio.open_connection(host, port, ssl=unverified)
            writer.close()
            return True
    except OSError:
        return False


def _short(text: object) -> str:
    """A foreign sentence on one line, without its full stop."""
    return " ".join(str(text).split())[:_LONGEST].rstrip(".")
