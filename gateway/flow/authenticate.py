"""From a credential to the caller: key, tenant, plan, grants, overrides.

Callers are cached for `CACHE_S` seconds and only within one revocation epoch. The epoch is compared again inside the
enter script, so that a revoked key admits nothing however stale a cache is.

Wrong keys are limited by address, and a valid key works from any address whatever else came from there: only failures
count, and an address with too many of them is held against the digests of all valid keys, which are read at most once
in `DIGESTS_S`, so that no number of wrong keys reaches the database.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from dataclasses import dataclass

from gateway.domain.errors import Forbidden, RateLimited, StoreUnavailable, Unauthenticated
from gateway.domain.keys import Caller, digest_of, has_key_form
from gateway.domain.managed import BoundCaller
from gateway.flow.failed_attempts import FailedAttempts
from gateway.ports import KeyStore

CACHE_S = 30.0
STALE_S = 600.0  # how long a known key still works while the database is down
DIGESTS_S = 5.0
MAX_CACHED = 100_000
ASK_FOR_KEY = "A key is needed: send it as the password of Basic authentication, or as a Bearer token."
UNKNOWN_KEY = "This key is not known here. Check it for typing errors, or ask the operator for a new one."


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a credential came from: the caller's IP address ("" if it has none), and in the path or in a header."""

    address: str = ""
    is_in_path: bool = False


NOWHERE = Origin()


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
        self._failed = FailedAttempts()
        self._reading = asyncio.Lock()
        self._digests: tuple[frozenset[str], str, float] = (frozenset(), "", -math.inf)

    async def authenticate(self, credential: str | None, origin: Origin = NOWHERE) -> Caller:
        """The caller. Raises Unauthenticated, Forbidden (revoked, expired, not from this address, not in a path),
        RateLimited (too many wrong keys from there), StoreUnavailable (unknown here, database down)."""
        if not credential:
            raise Unauthenticated(ASK_FOR_KEY)
        if not has_key_form(credential):
            self._failed.count(origin.address, _now())
            raise Unauthenticated(UNKNOWN_KEY)
        caller = await self._find(digest_of(credential), origin.address)
        if caller is None:
            raise Unauthenticated(UNKNOWN_KEY)
        self._check(caller, origin)
        return caller

    async def _find(self, digest: str, address: str) -> Caller | None:
        """The caller, or None and one failure counted. Raises RateLimited instead of None after too many of them."""
        now = _now()
        cached = self._cache.get(digest)
        is_fresh = cached is not None and cached.epoch == self._epoch.current and now - cached.at <= CACHE_S
        if is_fresh or digest in self._lookups or (cached is not None and cached.caller is not None):
            known = cached if cached is not None and is_fresh else await self._look_up(digest, now)
            if known.caller is None:
                self._failed.count(address, _now())
            return known.caller
        return await self._find_stranger(digest, address, now)

    async def _find_stranger(self, digest: str, address: str, now: float) -> Caller | None:
        try:
            self._failed.count(address, now)  # before the look-up, so that a burst of wrong keys is not looked up whole
        except RateLimited:
            if not await self._is_valid(digest):
                raise
            return (await self._look_up(digest, now)).caller
        has_failed = False
        try:
            caller = (await self._look_up(digest, now)).caller
            has_failed = caller is None
        finally:
            if not has_failed:
                self._failed.forgive(address)
        return caller

    async def _is_valid(self, digest: str) -> bool:
        """Whether a key with this digest exists, by the list of all of them."""
        async with self._reading:  # a burst reads it once
            digests, epoch, at = self._digests
            if epoch != self._epoch.current or _now() - at > DIGESTS_S:
                epoch = self._epoch.current
                digests = await self._keys.find_digests()
                self._digests = digests, epoch, _now()
        return digest in digests

    def _check(self, caller: Caller, origin: Origin) -> None:
        # Told only to who has the whole key, and cached like a good one: an unknown key learns nothing by its delay.
        if isinstance(caller, BoundCaller) and caller.is_revoked:
            raise Forbidden("This key was revoked. Ask the operator for a new one.")
        if caller.expires_at is not None and caller.expires_at <= self._wall():
            raise Forbidden("This key has expired. Ask the operator for a new one.")
        if isinstance(caller, BoundCaller) and not caller.may_call_from(origin.address):
            raise Forbidden("This key may not be used from this address. Ask the operator to allow it.")
        if origin.is_in_path and not (isinstance(caller, BoundCaller) and caller.allows_path):
            raise Forbidden(
                "This key may not stand in the path. Send it as a password, or ask the operator to allow it."
            )

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


def _now() -> float:
    return asyncio.get_running_loop().time()
