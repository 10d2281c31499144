"""From a credential to the caller: key, tenant, plan, grants, overrides.

Callers are cached for `CACHE_S` seconds and only within one revocation epoch. The epoch is compared again inside the
enter
script, so that a revoked key admits nothing however stale a cache is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from gateway.domain.errors import Forbidden, StoreUnavailable, Unauthenticated
from gateway.domain.keys import Caller, digest_of, has_key_form
from gateway.ports import KeyStore

CACHE_S = 30.0
STALE_S = 600.0  # how long a known key still works while the database is down
MAX_CACHED = 100_000
ASK_FOR_KEY = "A key is needed: send it as the password of Basic authentication, or as a Bearer token."
UNKNOWN_KEY = "This key is not known here. Check it for typing errors, or ask the operator for a new one."


class Epoch:
    """The revocation epoch as this process knows it; kept current by the heartbeat and by the enter script."""

    def __init__(self) -> None:
        self.current = ""


@dataclass(frozen=True, slots=True)
class _Cached:
    caller: Caller | None
    epoch: str
    at: float


class Authenticator:
    """Looks keys up; `wall` gives seconds since the epoch, for expiry dates only."""

    def __init__(self, keys: KeyStore, epoch: Epoch, wall: Callable[[], float]) -> None:
        self._keys = keys
        self._epoch = epoch
        self._wall = wall
        self._cache: dict[str, _Cached] = {}
        self._lookups: dict[str, asyncio.Lock] = {}

    async def authenticate(self, credential: str | None) -> Caller:
        """The caller. Raises Unauthenticated, Forbidden (expired), StoreUnavailable (unknown here, database down)."""
        if not credential:
            raise Unauthenticated(ASK_FOR_KEY)
        if not has_key_form(credential):
            raise Unauthenticated(UNKNOWN_KEY)
        digest = digest_of(credential)
        now = asyncio.get_running_loop().time()
        cached = self._cache.get(digest)
        if cached is None or cached.epoch != self._epoch.current or now - cached.at > CACHE_S:
            cached = await self._look_up(digest, now)
        if cached.caller is None:
            raise Unauthenticated(UNKNOWN_KEY)
        expires_at = cached.caller.expires_at
        if expires_at is not None and expires_at <= self._wall():
            raise Forbidden("This key has expired. Ask the operator for a new one.")
        return cached.caller

    async def _look_up(self, digest: str, now: float) -> _Cached:
        lock = self._lookups.setdefault(digest, asyncio.Lock())
        try:
            async with lock:  # a burst of calls with one new key is one look-up
                known = self._cache.get(digest)
                epoch = self._epoch.current
                if known is not None and known.epoch == epoch and known.at >= now:
                    return known
                try:
                    found = _Cached(await self._keys.find_caller(digest), epoch, asyncio.get_running_loop().time())
                except StoreUnavailable:
                    # Open: a key known a moment ago goes on working while the database is away, in the same epoch only.
                    if known is not None and known.epoch == epoch and now - known.at < STALE_S:
                        return known
                    raise
                if len(self._cache) >= MAX_CACHED:
                    self._cache.clear()
                self._cache[digest] = found
                return found
        finally:
            self._lookups.pop(digest, None)
