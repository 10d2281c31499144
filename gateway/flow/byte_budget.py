"""How many bytes of bodies and answers this process holds at once, so that a burst of large pictures cannot fill it.

A body is let in whole or not at all: while there is no room it is left unread, in the socket, for up to `WAIT_S`. An
answer is counted as soon as its job is sent, and never waited for: the backend is at work already. What is let in next
makes up for it. Decision 0020.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from gateway.domain.errors import NoCapacity

WAIT_S = 5.0
DEFAULT_BYTES = 512_000_000
BYTES_PER_PIXEL = 4  # of a picture in base64: PNG of 8-bit RGB hardly compresses, and 3 bytes become 4 characters


@dataclass(frozen=True, slots=True, eq=False)
class _Waiting:
    """A body that waits to be let in."""

    tenant: str
    size: int
    let_in: asyncio.Future[None]


class Held:
    """What one call holds; `give_back` ends it and may be repeated."""

    def __init__(self, budget: ByteBudget, tenant: str, size: int) -> None:
        self._budget = budget
        self._tenant = tenant
        self._size = size

    @property
    def size(self) -> int:
        """Bytes held now."""
        return self._size

    def correct(self, size: int) -> None:
        """The call really holds so many bytes; more than it was let in with is counted, not refused."""
        difference, self._size = size - self._size, size
        self._budget._add(self._tenant, difference)  # noqa: SLF001 - one class in two parts

    def give_back(self) -> None:
        """The call holds nothing any more."""
        self.correct(0)


class ByteBudget:
    """At most `total` bytes in all and half of that for one tenant; a call that stands alone is always let in."""

    def __init__(self, total: int = DEFAULT_BYTES) -> None:
        self._total = total
        self._used = 0
        self._by_tenant: Counter[str] = Counter()
        self._waiting: list[_Waiting] = []

    @property
    def total(self) -> int:
        """Bytes that may be held at once."""
        return self._total

    @property
    def used(self) -> int:
        """Bytes held by all calls, and answers expected."""
        return self._used

    @property
    def waiting(self) -> int:
        """How many bodies wait for room."""
        return len(self._waiting)

    async def take(self, tenant: str, size: int) -> Held:
        """Room for a body of `size` bytes. Raises NoCapacity if there is none within `WAIT_S` seconds."""
        if self._waiting or not self._fits(tenant, size):
            await self._wait(_Waiting(tenant, size, asyncio.get_running_loop().create_future()))
        else:
            self._add(tenant, size)
        return Held(self, tenant, size)

    @contextmanager
    def expecting(self, size: int) -> Iterator[None]:
        """An answer of about `size` bytes is on its way within the block."""
        self._used += size
        try:
            yield
        finally:
            self._used -= size
            self._let_in()

    async def _wait(self, body: _Waiting) -> None:
        self._waiting.append(body)
        self._let_in()
        try:
            async with asyncio.timeout(WAIT_S):
                await body.let_in
        except BaseException as error:
            if body in self._waiting:
                self._waiting.remove(body)
            elif body.let_in.done() and not body.let_in.cancelled():
                self._add(body.tenant, -body.size)  # let in and cancelled in one turn of the loop
            self._let_in()  # those behind it may fit where it did not
            if isinstance(error, TimeoutError):
                raise NoCapacity(
                    "The gateway holds as many large pictures as it can. Try again in a moment.", retry_after_s=WAIT_S
                ) from None
            raise

    def _fits(self, tenant: str, size: int) -> bool:
        if self._used == 0:
            return True
        return self._used + size <= self._total and not self._is_beyond_its_half(tenant, size)

    def _is_beyond_its_half(self, tenant: str, size: int) -> bool:
        held = self._by_tenant[tenant]
        return held > 0 and held + size > self._total // 2

    def _add(self, tenant: str, size: int) -> None:
        self._used += size
        self._by_tenant[tenant] += size
        if not self._by_tenant[tenant]:
            del self._by_tenant[tenant]
        if size < 0:
            self._let_in()

    def _let_in(self) -> None:
        """Let in whoever fits, in order; a tenant at its half is passed by, a body too large for all holds the rest."""
        for body in list(self._waiting):
            if self._fits(body.tenant, body.size):
                self._waiting.remove(body)
                self._add(body.tenant, body.size)
                if not body.let_in.done():
                    body.let_in.set_result(None)
            elif not self._is_beyond_its_half(body.tenant, body.size):
                return
