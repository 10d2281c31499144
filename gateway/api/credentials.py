"""The key in a request's headers, in any of the forms that real clients send.

In this order, the first that yields something counts: `Authorization: Basic` (with a colon: the password, or the user
name when the password is empty or a placeholder; without: the whole text, or the raw value when that has a key's form),
`Authorization: Bearer`, `X-API-Key`, and the key in the path (`/k/KEY/...`), which the edge took out of it.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import Mapping

from starlette.requests import Request

from gateway.domain.keys import Caller, has_key_form
from gateway.flow.authenticate import Authenticator, Origin

# What clients send for "nothing": JavaScript's and Python's words for it, and the examples of setup pages.
_PLACEHOLDERS = frozenset({"", "x", "api", "token", "undefined", "null", "none"})


def credential_of(headers: Mapping[str, str]) -> str | None:
    """The key that the caller sent, None if there is none; it need not be a known or well-formed one."""
    scheme, _, value = headers.get("authorization", "").strip().partition(" ")
    value = value.strip()
    found = None
    if scheme.lower() == "basic":
        found = _from_basic(value)
    elif scheme.lower() == "bearer":
        found = value
    elif has_key_form(scheme) and not value:
        found = scheme
    return found or headers.get("x-api-key", "").strip() or None


def presented(request: Request) -> tuple[str | None, Origin]:
    """The credential of a request and where it came from."""
    address = request.client.host if request.client else ""
    credential = credential_of(request.headers)
    in_path: str | None = getattr(request.state, "path_key", None)
    if credential is None and in_path is not None:
        return in_path, Origin(address, is_in_path=True)
    return credential, Origin(address)


async def caller_of(request: Request, authenticator: Authenticator) -> Caller:
    """Who calls; from here on `request.state` has `caller`, and `auth_s`, how long it took. Raises what
    `Authenticator.authenticate` does."""
    clock = asyncio.get_running_loop().time
    began = clock()
    caller = await authenticator.authenticate(*presented(request))
    request.state.caller, request.state.auth_s = caller, clock() - began
    return caller


def _from_basic(value: str) -> str | None:
    text = _decoded(value)
    if text is None:
        return value if has_key_form(value) else None
    user, colon, password = text.partition(":")
    if not colon:
        return text if text.lower() not in _PLACEHOLDERS else None
    for part in (password, user):
        if part.lower() not in _PLACEHOLDERS:
            return part
    return None


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
