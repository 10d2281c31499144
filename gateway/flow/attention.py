"""What a caller sees of its running job and wishes of it, in the process that holds the job.

While somebody looks, the backend is asked how far it is, at most once a second: asking slows the GPU. Nobody waits for
that answer: a look shows what was known before it. Interrupt and skip reach a backend only while this job's own POST is
open there, and again every second until that has ended: SD.Next ignores them while it loads a model (observed).
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import msgspec

from gateway.domain.backends import Backend
from gateway.domain.errors import AttemptFailed, StoreUnavailable
from gateway.domain.progress import Follower, Shown
from gateway.ports import BackendClient, OwnJobStore

LOOK_EVERY_S = 1.0
LOOK_TIMEOUT_S = 5.0
WISH_EVERY_S = 1.0
WISH_TIMEOUT_S = 5.0


@dataclass(slots=True)
class Attention:
    """One job's. `wish` is "", `interrupt` or `skip`; `shown` and `preview` are what is known of it so far."""

    job_id: str = ""
    wish: str = ""
    shown: Shown = field(default_factory=Shown)
    preview: str = ""
    _has_news: asyncio.Event = field(default_factory=asyncio.Event)
    _has_looker: asyncio.Event = field(default_factory=asyncio.Event)
    _watchers: dict[str, bool] = field(default_factory=dict)

    def look(self, process: str = "", *, with_preview: bool = False) -> None:
        """Somebody looks, in that other process, or in this one ("")."""
        self._watchers[process] = self._watchers.get(process, False) or with_preview
        self._has_looker.set()

    def wish_for(self, wish: str) -> None:
        """The caller wants it to end: the first wish counts."""
        self.wish = self.wish or wish
        self._has_news.set()

    def attempt_ended(self) -> None:
        """The POST is over; whoever waits for a wish looks at that."""
        self._has_news.set()

    def attempt_begins(self) -> None:
        """A new POST, perhaps elsewhere: what was shown of the last one is void."""
        self.shown, self.preview = Shown(), ""
        if not self.wish:
            self._has_news.clear()

    async def looked_at(self) -> dict[str, bool]:
        """Wait until somebody looks: the processes, "" for this one, and whether a preview is wanted there."""
        await self._has_looker.wait()
        self._has_looker.clear()
        watchers, self._watchers = self._watchers, {}
        return watchers

    async def has_news(self) -> None:
        """Wait for a wish, or for the end of the attempt."""
        await self._has_news.wait()


class Attendant:
    """Asks backends on behalf of those who look at a job, and passes their wishes on."""

    def __init__(self, client: BackendClient, store: OwnJobStore) -> None:
        self._client = client
        self._store = store

    async def follow(self, backend: Backend, attention: Attention) -> None:
        """While somebody looks, ask the backend how far this job is. For ever: to be cancelled with the attempt."""
        follower = Follower()
        while True:
            watchers = await attention.looked_at()
            with suppress(AttemptFailed, StoreUnavailable):  # then nothing new is shown
                await self._look(backend, attention, follower, watchers)
            await asyncio.sleep(LOOK_EVERY_S)

    async def _look(
        self, backend: Backend, attention: Attention, follower: Follower, watchers: dict[str, bool]
    ) -> None:
        skips = "false" if any(watchers.values()) else "true"
        path = f"/sdapi/v1/progress?skip_current_image={skips}"
        reply = await self._client.get(backend, path, LOOK_TIMEOUT_S)
        shown, preview = follower.saw(_decoded(reply.body))
        attention.shown, attention.preview = shown, preview or attention.preview
        others = watchers.keys() - {""}
        if others:
            with_preview = frozenset(process for process in others if watchers[process])
            await self._store.show(attention.job_id, shown.to_bytes(), preview, with_preview)

    async def carry_out(self, backend: Backend, attention: Attention, post: asyncio.Task[Any]) -> None:
        """Once there is a wish, tell the backend until the POST has ended; back when nothing of it is under way."""
        await attention.has_news()
        while not post.done():
            with suppress(AttemptFailed):  # it cannot be told; its POST ends or times out all the same
                await self._client.post(backend, f"/sdapi/v1/{attention.wish}", b"", WISH_TIMEOUT_S)
            await asyncio.wait([post], timeout=WISH_EVERY_S)


def _decoded(body: bytes) -> object:
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
