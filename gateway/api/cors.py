"""Pages of other sites may call: which ones, with what, and what they may read of the answers (Fetch standard, 3.2).

Nothing here protects anything: a page has no key but the one its user gave it, so credentials that a browser adds by
itself are never allowed, and everything else is, from the origins that the operator names.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

Headers = list[tuple[bytes, bytes]]
_METHODS = b"GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"
_ALWAYS_ALLOWED = (b"authorization", b"content-type", b"x-api-key", b"x-request-id", b"prefer")
_NAME = re.compile(rb"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}")
_MOST_NAMES = 50
_EXPOSED = (
    b"X-Request-Id, X-Job-Id, X-Gateway-Adjusted, Server-Timing, RateLimit, RateLimit-Policy, Retry-After, "
    b"X-Restricted-Until, WWW-Authenticate"
)
_REMEMBER_S = b"7200"  # the most that Chrome keeps


@dataclass(frozen=True, slots=True)
class Cors:
    """Origins that may call: `*` for any, `none` for no one."""

    origins: tuple[str, ...] = ("*",)
    _named: frozenset[bytes] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_named", frozenset(origin.rstrip("/").encode() for origin in self.origins))

    def headers(self, origin: bytes | None) -> Headers:
        """What every answer bears, errors too: without it a page learns nothing but that the network failed."""
        if b"*" in self._named:
            return [(b"access-control-allow-origin", b"*"), (b"access-control-expose-headers", _EXPOSED)]
        vary = (b"vary", b"Origin")
        if origin is None or origin not in self._named or origin == b"none":
            return [vary] if self._named != {b"none"} else []
        return [vary, (b"access-control-allow-origin", origin), (b"access-control-expose-headers", _EXPOSED)]

    def preflight(self, asked: Mapping[bytes, bytes]) -> Headers:
        """What an OPTIONS is answered besides; `asked` are its headers, names in lower case.

        Every header that is asked for is allowed: clients add ones of their own, and none of them gives any right.
        """
        names = dict.fromkeys(_ALWAYS_ALLOWED)
        wanted = asked.get(b"access-control-request-headers", b"").lower().split(b",")[:_MOST_NAMES]
        names |= dict.fromkeys(name.strip() for name in wanted if _NAME.fullmatch(name.strip()))
        allowed = [
            (b"access-control-allow-methods", _METHODS),
            (b"access-control-allow-headers", b", ".join(names)),
            (b"access-control-max-age", _REMEMBER_S),
        ]
        if asked.get(b"access-control-request-private-network", b"").lower() == b"true":
            # A public page that calls a server in the user's own network: that server must say that it is meant to.
            allowed.append((b"access-control-allow-private-network", b"true"))
        return allowed
