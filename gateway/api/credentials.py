"""The key in a request's headers, in any of the forms that real clients send.

In this order: `Authorization: Basic` (with a colon: the password, then the user name; without: the whole text, or the
raw value when that has a key's form), `Authorization: Bearer`, `X-API-Key`, and the key in the path (`/k/KEY/...`),
which the edge took out of it. The first that has a key's form counts: a proxy may send its own password or token too.
One that has the form and is unknown is refused, whatever stands behind it: nobody is served under another key than
the one sent first. Where none has the form the first is taken, to be told that it is no key.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import Iterator, Mapping

from starlette.requests import Request

from gateway.api.limits import count_stranger, refuse_too_many
from gateway.domain.keys import Caller, has_key_form
from gateway.flow.authenticate import Authenticator, Origin

# What clients send for "nothing": JavaScript's and Python's words for it, and the examples of setup pages.
_PLACEHOLDERS = frozenset({"", "x", "api", "token", "undefined", "null", "none"})


def credential_of(headers: Mapping[str, str]) -> str | None:
    """The key that the caller sent, None if there is none; it need not be a known or well-formed one."""
    sent = [part for part in _each_sent(headers) if part.lower() not in _PLACEHOLDERS]
    return next((part for part in sent if has_key_form(part)), sent[0] if sent else None)


def presented(request: Request) -> tuple[str | None, Origin]:
    """The credential of a request and where it came from."""
    address = request.client.host if request.client else ""
    credential = credential_of(request.headers)
    in_path: str | None = getattr(request.state, "path_key", None)
    if in_path is not None and (credential is None or (has_key_form(in_path) and not has_key_form(credential))):
        return in_path, Origin(address, is_in_path=True)
    return credential, Origin(address)


async def caller_of(request: Request, authenticator: Authenticator) -> Caller:
    """Who calls; from here on `request.state` has `caller`, and `auth_s`, how long it took. Raises what
    `Authenticator.authenticate` does, and TooManyCalls."""
    clock = asyncio.get_running_loop().time
    began = clock()
    credential, origin = presented(request)
    if credential is None:
        count_stranger(request.scope)
    caller = await authenticator.authenticate(credential, origin)
    request.state.caller, request.state.auth_s = caller, clock() - began
    refuse_too_many(request, caller)
    return caller


def _each_sent(headers: Mapping[str, str]) -> Iterator[str]:
    scheme, _, value = headers.get("authorization", "").strip().partition(" ")
    value = value.strip()
    if scheme.lower() == "basic":
        yield from _from_basic(value)
    elif scheme.lower() == "bearer":
        yield value
    elif has_key_form(scheme) and not value:
        yield scheme
    yield headers.get("x-api-key", "").strip()


def _from_basic(value: str) -> Iterator[str]:
    text = _decoded(value)
    if text is None:
        if has_key_form(value):
            yield value
        return
    user, colon, password = text.partition(":")
    if colon:
        yield password
    yield user


def _decoded(value: str) -> str | None:
    """Base64 as text: standard or url-safe, padded or not; None if it is neither base64 nor text."""
    if has_key_form(value):
        return None  # a key is valid url-safe base64 too, and decodes to nothing meaningful
    standard = value.replace("-", "+").replace("_", "/").rstrip("=")
    try:
        raw = base64.b64decode(standard + "=" * (-len(standard) % 4), validate=True)
        return raw.decode()
    except (binascii.Error, ValueError):
        return None
