"""What a caller sees of its running job and wishes of it, in the process that holds the job.

Nobody waits for a backend: a look shows what was known before it. So from the first look on, also one while the job
waited, the backend is asked how far it is until the job ends: once a second while somebody looks, every two seconds
between looks, as asking slows the GPU. What is shown is never older than that, however seldom a client asks, and no
client can have a backend asked more often. A job that nobody looks at is not asked about. Interrupt and skip reach a
backend only while this job's own POST is open there, and again every second until that has ended: SD.Next ignores them
while it loads a model (observed).
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

from gateway.domain.backends import Backend
from gateway.domain.errors import AttemptFailed, BackendAnswerTooLarge, StoreUnavailable
from gateway.domain.progress import Follower, Shown
from gateway.domain.replies import decoded
from gateway.ports import BackendClient, OwnJobStore

LOOK_EVERY_S = 1.0
UNWATCHED_EVERY_S = 2.0
LOOK_TIMEOUT_S = 5.0
WISH_EVERY_S = 1.0
WISH_TIMEOUT_S = 5.0


class Attention:
    """One job's. `wish` is "", `interrupt` or `skip`; `shown` and `preview` are what is known of it so far; `elsewhere`
    are the other processes in which somebody has looked at it.
    """

    __slots__ = (
        "_attended",
        "_has_been_looked_at",
        "_watchers",
        "elsewhere",
        "is_preview_too_large",
        "job_id",
        "preview",
        "shown",
        "wish",
    )

    def __init__(self, job_id: str = "", shown: Shown | None = None, preview: str = "") -> None:
        self.job_id, self.wish = job_id, ""
        self.shown, self.preview = shown or Shown(), preview
        self.is_preview_too_large = False
        self._watchers: dict[str, bool] = {}
        self._has_been_looked_at = False
        self.elsewhere: frozenset[str] = frozenset()
        self._attended: Attended | None = None

    def look(self, process: str = "", *, with_preview: bool = False) -> None:
        """Somebody looks, in that other process, or in this one ("")."""
        self._watchers[process] = self._watchers.get(process, False) or with_preview
        self._has_been_looked_at = True
        if process and process not in self.elsewhere:
            self.elsewhere |= {process}
        if self._attended is not None:
            self._attended.looked_at()

    def wish_for(self, wish: str) -> None:
        """The caller wants it to end: the first wish counts."""
        self.wish = self.wish or wish
        if self._attended is not None:
            self._attended.wished()

    def attempt_begins(self, attended: Attended) -> None:
        """A new POST, perhaps elsewhere: what was shown of the last one is void; looks and wishes of before count."""
        self.shown, self.preview = Shown(), ""
        self._attended = attended
        if self._has_been_looked_at:
            attended.looked_at()
        if self.wish:
            attended.wished()

    def attempt_ended(self) -> None:
        """The POST is over; there is nobody to ask or to tell."""
        if self._attended is not None:
            self._attended.over()
        self._attended = None

    @property
    def is_looked_at(self) -> bool:
        """Whether anybody has looked since the backend was asked last."""
        return bool(self._watchers)

    def take_watchers(self) -> dict[str, bool]:
        """Who has looked since the last time: the processes, "" for this one, and whether a preview is wanted there."""
        watchers, self._watchers = self._watchers, {}
        return watchers


class Attendant:
    """Asks backends on behalf of those who look at a job, and passes their wishes on."""

    def __init__(self, client: BackendClient, store: OwnJobStore) -> None:
        self._client = client
        self._store = store

    def attend(self, group: asyncio.TaskGroup, backend: Backend, attention: Attention, post: asyncio.Task[Any]) -> None:
        """From now until `attention.attempt_ended()`: nothing runs before somebody looks or wishes."""
        attention.attempt_begins(Attended(self, group, backend, attention, post))

    async def follow(self, backend: Backend, attention: Attention, follower: Follower) -> None:
        """Ask the backend how far this job is, again and again until cancelled."""
        while True:
            with suppress(AttemptFailed, StoreUnavailable):  # then nothing new is shown
                await self._look(backend, attention, follower)
            await asyncio.sleep(LOOK_EVERY_S)
            if not attention.is_looked_at:
                await asyncio.sleep(UNWATCHED_EVERY_S - LOOK_EVERY_S)

    async def _look(self, backend: Backend, attention: Attention, follower: Follower) -> None:
        watchers = attention.take_watchers()
        skips = "false" if any(watchers.values()) and not attention.is_preview_too_large else "true"
        path = f"/sdapi/v1/progress?skip_current_image={skips}"
        try:
            reply = await self._client.get(backend, path, LOOK_TIMEOUT_S)
        except BackendAnswerTooLarge:  # the grid of a large batch as PNG; the progress alone is a few bytes
            attention.is_preview_too_large = True
            raise
        shown, preview = follower.saw(decoded(reply.body))
        attention.shown, attention.preview = shown, preview or attention.preview
        if attention.elsewhere:
            with_preview = frozenset(process for process, wants in watchers.items() if process and wants)
            await self._store.show(attention.job_id, shown.to_bytes(), preview, with_preview)

    async def carry_out(self, backend: Backend, attention: Attention, post: asyncio.Task[Any]) -> None:
        """Tell the backend the wish until the POST has ended; back when nothing of it is under way."""
        while not post.done():
            with suppress(AttemptFailed):  # it cannot be told; its POST ends or times out all the same
                await self._client.post(backend, f"/sdapi/v1/{attention.wish}", b"", WISH_TIMEOUT_S)
            await asyncio.wait([post], timeout=WISH_EVERY_S)


class Attended:
    """One attempt while its POST is open: begins to follow and to carry out when it is asked for, each at most once
    at a time.
    """

    __slots__ = ("_attendant", "_attention", "_backend", "_carrying", "_following", "_group", "_post")

    def __init__(
        self,
        attendant: Attendant,
        group: asyncio.TaskGroup,
        backend: Backend,
        attention: Attention,
        post: asyncio.Task[Any],
    ) -> None:
        self._attendant, self._group, self._backend = attendant, group, backend
        self._attention, self._post = attention, post
        self._following: asyncio.Task[None] | None = None
        self._carrying: asyncio.Task[None] | None = None

    def looked_at(self) -> None:
        """Somebody looks."""
        if self._following is None:
            follow = self._attendant.follow(self._backend, self._attention, Follower())
            self._following = self._group.create_task(follow, name="follow")

    def wished(self) -> None:
        """The caller wants the job to end."""
        if self._carrying is None:
            carry_out = self._attendant.carry_out(self._backend, self._attention, self._post)
            self._carrying = self._group.create_task(carry_out, name="carry out")

    def over(self) -> None:
        """The POST has ended: nobody is asked any more; a wish on its way is let through."""
        if self._following is not None:
            self._following.cancel()
