"""How many bytes of bodies and answers this process holds at once, so that a burst of large pictures cannot fill it.

What has arrived counts, never what was announced. A body grows piece by piece; a piece that finds no room stays with
its caller, unread in the socket; a body waits for `WAIT_S` in all. Answers count from when their job is sent, with the
most they can be, until they are sent on; they never wait: a backend would keep its slot meanwhile. Decision 0053.

Rules for the next piece of a body:
1. The first `SMALL_BYTES` of a call are always let in: a call without pictures is never refused for those with them.
2. A tenant's bodies may take as much as stays free after it. One tenant alone gets half, two a third each, and there is
   always room left for one more (dynamic thresholds, Choudhury and Hahne 1998).
3. Of one tenant the older call goes first, so that some of its bodies get whole instead of all of them half.
4. At most `MOST_ARRIVING_OF_TENANT` bodies of a tenant, and `MOST_ARRIVING_OF_SENDER` of one sender, are under way.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from itertools import count
from typing import TypeVar

from gateway.domain.errors import NoCapacity

WAIT_S = 5.0
DEFAULT_BYTES = 512_000_000
SMALL_BYTES = 65_536
MOST_ARRIVING_OF_TENANT = 64
MOST_ARRIVING_OF_SENDER = 32
UNREAD_RETRY_S = 10.0

K = TypeVar("K")


@dataclass(slots=True, eq=False)
class _Piece:
    """A piece of a body that comes in, and since when it waits for that."""

    held: Held
    size: int
    is_last: bool
    since: float = 0.0
    let_in: asyncio.Future[None] = field(init=False, repr=False)

    @property
    def tenant(self) -> str:
        return self.held.owner[0]

    @property
    def is_small(self) -> bool:
        """Whether it is let in whatever else there is (rule 1)."""
        return self.held.body_bytes + self.size <= SMALL_BYTES


class Held:
    """What one call holds: its body as far as it has come, and its answer. `give_back` ends it and may be repeated."""

    __slots__ = (
        "_answer",
        "_body",
        "_budget",
        "_expected",
        "_sent",
        "_unread",
        "is_arriving",
        "number",
        "owner",
        "patience_s",
    )

    def __init__(self, budget: ByteBudget, number: int) -> None:
        self._budget = budget
        self.number = number
        self.owner = ("", "")  # tenant and sender
        self._body = self._expected = self._answer = 0
        self._sent = self._unread = 0
        self.is_arriving = False  # some of the body has come, and more is to come
        self.patience_s = WAIT_S  # for all of its pieces

    @property
    def body_bytes(self) -> int:
        """Bytes of the body that have come."""
        return self._body

    @property
    def size(self) -> int:
        """Bytes counted for this call now."""
        return self._body + self._expected + self._answer

    @property
    def most_body_bytes(self) -> int:
        """The largest body there can ever be room for."""
        return self._budget.total // 2

    def belongs_to(self, tenant: str, sender: str) -> None:
        """Who is asking; to be said before the first byte. `sender` is one caller among those of the tenant."""
        self.owner = (tenant, sender)

    async def add(self, size: int, *, is_last: bool) -> None:
        """Count the next piece of the body. Raises NoCapacity after `WAIT_S` seconds of waiting, for all pieces."""
        if size:
            await self._budget.let_in(self, size, is_last=is_last)
        elif is_last:
            self._budget.is_whole(self)

    def grow(self, size: int) -> None:
        """More of the body is here. For the budget only: callers `add`."""
        self._count(body=size)

    def expect(self, size: int) -> None:
        """The answer under way will have at most so many bytes; 0 when none is under way any more.

        Raises NoCapacity while the tenant leaves more of its earlier answers unread than there is room for: they would
        pile up without end.
        """
        if size:
            self._budget.refuse_who_does_not_read(self.owner[0])
        self._count(expected=size - self._expected)

    def answered(self, size: int) -> None:
        """One whole answer of so many bytes is here, instead of the one expected; it stays until `give_back`."""
        self._count(expected=-self._expected, answer=size)

    def sending(self, size: int) -> None:
        """So many bytes of the answer are given to the caller's socket; the body is not needed any more."""
        self._sent += size
        self._count(body=-self._body, answer=max(0, self._sent - self._answer))
        self._budget.count_unread(self.owner[0], self._answer - self._unread)
        self._unread = self._answer

    def give_back(self) -> None:
        """The call holds nothing any more."""
        self._budget.count_unread(self.owner[0], -self._unread)
        self._unread = 0
        self._count(body=-self._body, expected=-self._expected, answer=-self._answer)

    def _count(self, body: int = 0, expected: int = 0, answer: int = 0) -> None:
        self._body += body
        self._expected += expected
        self._answer += answer
        self._budget.count(self, body, expected + answer)


class ByteBudget:
    """At most `total` bytes of bodies, and answers beside them; the rules stand at the head of this module."""

    def __init__(self, total: int = DEFAULT_BYTES) -> None:
        self._total = total
        self._used = 0
        self._bodies: Counter[str] = Counter()  # by tenant
        self._unread: Counter[str] = Counter()  # of answers that are being sent, by tenant
        self._arriving: Counter[tuple[str, ...]] = Counter()  # bodies under way, by tenant and by sender
        self._waiting: list[_Piece] = []
        self._numbers = count()

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

    def call(self) -> Held:
        """What a new call holds: nothing yet."""
        return Held(self, next(self._numbers))

    async def let_in(self, held: Held, size: int, *, is_last: bool) -> None:
        """Count a piece of a body once there is room. Raises NoCapacity. For `Held` only."""
        piece = _Piece(held, size, is_last)
        if self._may_arrive(piece) and self._has_room(piece) and not self._is_behind(piece):
            self._take(piece)
        else:
            await self._wait(piece)

    def count(self, held: Held, body: int, answer: int) -> None:
        """Count bytes that have changed. For `Held` only."""
        tenant = held.owner[0]
        self._used += body + answer
        _add(self._bodies, tenant, body)
        if not held.body_bytes:
            self.is_whole(held)
        if body + answer < 0:
            self._let_in_who_fits()

    def count_unread(self, tenant: str, change: int) -> None:
        """Count what of a tenant's answers is being sent. For `Held` only."""
        _add(self._unread, tenant, change)

    def refuse_who_does_not_read(self, tenant: str) -> None:
        """Raise NoCapacity while a tenant's unread answers take more than stays free of them (rule 2, for answers)."""
        own = self._unread[tenant] if tenant in self._unread else 0
        if own and own > self._total - self._unread.total():
            raise NoCapacity(
                "Earlier answers to this tenant have not been read yet and fill its room. Read them, then try again.",
                retry_after_s=UNREAD_RETRY_S,
            )

    async def _wait(self, piece: _Piece) -> None:
        loop = asyncio.get_running_loop()
        piece.since, piece.let_in = loop.time(), loop.create_future()
        self._waiting.append(piece)
        timer = loop.call_at(piece.since + piece.held.patience_s, self._refuse_overdue)
        try:
            await piece.let_in
        except asyncio.CancelledError:
            # Let in or refused, and cancelled, in one turn of the loop: what it took goes with the call's `give_back`.
            if piece.let_in.done() and not piece.let_in.cancelled():
                piece.let_in.exception()
            if piece in self._waiting:
                self._waiting.remove(piece)
                self._let_in_who_fits()
            raise
        finally:
            timer.cancel()
            piece.held.patience_s -= loop.time() - piece.since

    def _refuse_overdue(self) -> None:
        """Refuse whoever waits too long, the newest call first, and only until the others have room.

        All bodies can be stuck half sent, each waiting for the room that the others hold: they must not all be lost.
        """
        now = asyncio.get_running_loop().time()
        while overdue := [piece for piece in self._waiting if piece.since + piece.held.patience_s <= now]:
            newest = max(overdue, key=lambda piece: piece.held.number)
            self._waiting.remove(newest)
            newest.held.give_back()
            if not newest.let_in.done():
                newest.let_in.set_exception(
                    NoCapacity(
                        "The gateway holds as many large pictures as it can. Try again in a moment.",
                        retry_after_s=WAIT_S,
                    )
                )
            self._let_in_who_fits()

    def _is_behind(self, piece: _Piece) -> bool:
        """Whether an older call of the same tenant waits for room (rule 3)."""
        if not self._waiting or piece.is_small:
            return False
        older = (p for p in self._waiting if p.tenant == piece.tenant and p.held.number < piece.held.number)
        return any(self._may_arrive(p) for p in older)  # one that waits for rule 4 waits for just such a piece as this

    def _may_arrive(self, piece: _Piece) -> bool:
        if piece.is_last or piece.held.is_arriving:
            return True
        owner = piece.held.owner
        of_tenant, of_sender = self._arriving[owner[:1]], self._arriving[owner]
        return of_tenant < MOST_ARRIVING_OF_TENANT and of_sender < MOST_ARRIVING_OF_SENDER

    def _has_room(self, piece: _Piece) -> bool:
        return piece.is_small or self._bodies[piece.tenant] + piece.size <= self._total - self._used - piece.size

    def _take(self, piece: _Piece) -> None:
        held = piece.held
        if not piece.is_last and not held.is_arriving:
            held.is_arriving = True
            _add(self._arriving, held.owner[:1], 1)
            _add(self._arriving, held.owner, 1)
        held.grow(piece.size)
        if piece.is_last:
            self.is_whole(held)

    def is_whole(self, held: Held) -> None:
        """No more of this body is to come. For `Held` only."""
        if held.is_arriving:
            held.is_arriving = False
            _add(self._arriving, held.owner[:1], -1)
            _add(self._arriving, held.owner, -1)
            self._let_in_who_fits()

    def _let_in_who_fits(self) -> None:
        """In the order of their calls; of a tenant whose older call finds no room only small ones pass it (rule 1)."""
        stopped: set[str] = set()
        for piece in sorted(self._waiting, key=lambda piece: piece.held.number):
            if piece not in self._waiting or not self._may_arrive(piece):  # a call that got whole let in others already
                continue
            if not self._has_room(piece) or (piece.tenant in stopped and not piece.is_small):
                stopped.add(piece.tenant)
                continue
            self._waiting.remove(piece)
            if not piece.let_in.done():
                self._take(piece)
                piece.let_in.set_result(None)


def unbudgeted() -> Held:
    """What a call holds that nobody counts."""
    return ByteBudget().call()


def _add(counts: Counter[K], key: K, change: int) -> None:
    """Count, and forget what has come to nothing: tenants come and go."""
    if not change:
        return
    counts[key] += change
    if not counts[key]:
        del counts[key]
