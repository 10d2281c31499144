"""Looks after the backends: up or down, what they have, what is loaded, when one that was lost is quiet again.

Only the process that leads looks; what it finds is published to all. A health check never waits behind a backend's
lock: it asks what SD.Next answers in milliseconds while it generates or loads (observed).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from gateway.domain.backends import Backend, BackendState
from gateway.domain.errors import AttemptFailed, BackendUnreachable, StoreUnavailable
from gateway.domain.options import reported
from gateway.flow.ids import new_id
from gateway.flow.snapshot import LISTS, CurrentCatalogue, PublishedInventory, Rescan, cut_down
from gateway.flow.upkeep import OK, Upkeep, decoded
from gateway.ports import BackendClient, PoolChanges, PoolNews, PoolStore, SlotView

LOOK_EVERY_S = 1.0
READ_LISTS_EVERY_S = 600.0
ANSWER_TIMEOUT_S = 5.0
FAILURES_TO_BE_DOWN = 2
QUIET_ANSWERS = 2
SET_ASIDE_S = 30.0
STALE_S = 60.0  # twice a slow swap, in which a healthy backend's progress stands still (observed)


@dataclass(slots=True)
class Watched:
    """What the watcher remembers of one backend between two looks."""

    failures: int = 0
    is_managed: bool = False
    read_at: float = 0.0
    rescan: Rescan = field(default_factory=Rescan)
    quiet_answers: int = 0
    set_aside_at: float = 0.0
    calmed: str = ""
    progress: tuple[object, ...] | None = None
    progress_at: float = 0.0
    state: BackendState = BackendState.UNSEEN


@dataclass(slots=True)
class _Findings:
    states: dict[str, str] = field(default_factory=dict)
    loaded: dict[str, str] = field(default_factory=dict)
    quiet: dict[str, str] = field(default_factory=dict)
    inventories: dict[str, bytes] = field(default_factory=dict)


class Watcher:
    """The leader's eye on all backends. `pool_seen` gives the leader's last view of the pool, None while not
    leading.
    """

    def __init__(
        self,
        backends: Callable[[], Sequence[Backend]],
        client: BackendClient,
        pool: PoolStore,
        upkeep: Upkeep,
        current: CurrentCatalogue,
        *,
        pool_seen: Callable[[], PoolChanges | None],
    ) -> None:
        self._backends = backends
        self._client = client
        self._pool = pool
        self._upkeep = upkeep
        self._current = current
        self._pool_seen = pool_seen
        self._watched: dict[str, Watched] = {}

    async def run(self) -> None:
        """Look once a second, for ever, while this process leads."""
        while True:
            seen = self._pool_seen()
            if seen is None:
                self._watched.clear()
            else:
                await self.look(seen)
            await asyncio.sleep(LOOK_EVERY_S)

    async def look(self, seen: PoolChanges) -> None:
        """One look at every backend; what differs from `seen` is published."""
        backends = self._backends()
        found = _Findings()
        async with asyncio.TaskGroup() as group:
            for backend in backends:
                group.create_task(self._look_at(backend, seen, found))
        removed = tuple(seen.states.keys() - {backend.name for backend in backends})
        news = PoolNews(
            states={name: state for name, state in found.states.items() if seen.states.get(name) != state},
            loaded={name: title for name, title in found.loaded.items() if seen.loaded.get(name) != title},
            quiet=found.quiet,
            removed=removed,
            inventories=found.inventories,
        )
        if news != PoolNews():
            await self._pool.publish(new_id(), news)

    async def _look_at(self, backend: Backend, seen: PoolChanges, found: _Findings) -> None:
        known = seen.states.get(backend.name)
        watched = self._watched.setdefault(backend.name, Watched(state=BackendState(known or BackendState.UNSEEN)))
        slot = seen.slots.get(backend.name)
        try:
            checkpoint = await self._checkpoint(backend)
            await self._read_and_manage(backend, watched, seen, found)
        except StoreUnavailable:
            return  # that says nothing about the backend
        except AttemptFailed as error:
            watched.failures += 1
            if watched.failures >= FAILURES_TO_BE_DOWN or isinstance(error, BackendUnreachable):
                watched.state = BackendState.DOWN
        else:
            watched.failures = 0
            watched.state = self._well(watched, known, seen.at)
            if slot is None and checkpoint is not None:
                found.loaded[backend.name] = self._current.name_of(backend.name, checkpoint)
            if slot is not None and slot.is_recovering:
                await self._calm(backend, watched, slot, found)
        # Also of one that is down: its operator took it out, and need not be woken when it is stopped.
        found.states[backend.name] = BackendState.DRAINING if backend.is_draining else watched.state

    async def _read_and_manage(self, backend: Backend, watched: Watched, seen: PoolChanges, found: _Findings) -> None:
        """Lists and options, of a backend that comes (back) or was not read for a while. Raises AttemptFailed."""
        # Also when a job found it dead meanwhile: it may have been started anew between two looks.
        # What no state is known of has no lists either: it is new, or the store lost them.
        was_gone = bool({BackendState.DOWN, None} & {watched.state, seen.states.get(backend.name)})
        rescan = self._upkeep.rescanned.get(backend.name) or self._current.rescan_of(backend.name)
        is_due = seen.at - watched.read_at > READ_LISTS_EVERY_S or watched.rescan != rescan
        if was_gone or (is_due and backend.name not in self._upkeep.rescanning):
            lists = await self._read_lists(backend, seen.at)
            found.inventories[backend.name] = replace(lists, rescan=rescan).to_bytes()
            watched.read_at, watched.rescan = seen.at, rescan
            watched.is_managed = False
        if not watched.is_managed and backend.is_managed:
            watched.is_managed = await self._upkeep.set_options(backend)

    @staticmethod
    def _well(watched: Watched, known: str | None, now: float) -> BackendState:
        """Up, unless a caller's job found that it must be set aside: that lasts a while, whatever a look says."""
        if known != BackendState.SET_ASIDE:
            watched.set_aside_at = 0.0
            return BackendState.UP
        watched.set_aside_at = watched.set_aside_at or now
        if now - watched.set_aside_at < SET_ASIDE_S:
            return BackendState.SET_ASIDE
        watched.set_aside_at = 0.0
        return BackendState.UP

    async def _checkpoint(self, backend: Backend) -> str | None:
        """The title of what is loaded, "" for nothing, None if it does not say. Raises AttemptFailed."""
        reply = await self._client.get(backend, "/sdapi/v1/checkpoint", ANSWER_TIMEOUT_S)
        if reply.status != OK:
            raise AttemptFailed(f"The backend answered {reply.status} when asked for its checkpoint.")
        answer = decoded(reply.body)
        if not isinstance(answer, dict):
            raise AttemptFailed("The backend's checkpoint is not an object.")
        title = answer.get("title")
        if answer.get("type") is None:
            return ""
        return title if isinstance(title, str) else None

    async def _read_lists(self, backend: Backend, now: float) -> PublishedInventory:
        lists: dict[str, Any] = {}
        for route in LISTS:
            reply = await self._client.get(backend, f"/sdapi/v1/{route}", ANSWER_TIMEOUT_S)
            lists[route] = cut_down(route, decoded(reply.body)) if reply.status == OK else None
        if not isinstance(lists["sd-models"], list):
            raise AttemptFailed("The backend has no list of checkpoints.")
        before = self._current.published.get(backend.name)
        if before is not None and len(lists["sd-models"]) < len(before.lists.get("sd-models") or ()):
            await self._confirm_shorter(backend, lists)
        options = decoded((await self._client.get(backend, "/sdapi/v1/options", ANSWER_TIMEOUT_S)).body)
        lists["options"] = reported(options)
        is_safe = backend.is_managed or (isinstance(options, Mapping) and options.get("lora_fuse_native") is False)
        return PublishedInventory(lists, is_safe, now).after(before, backend.name)

    async def _confirm_shorter(self, backend: Backend, lists: dict[str, Any]) -> None:
        """A rescan empties the list for a moment (observed): a shorter one counts when 5 s later it is the same."""
        await asyncio.sleep(ANSWER_TIMEOUT_S)
        reply = await self._client.get(backend, "/sdapi/v1/sd-models", ANSWER_TIMEOUT_S)
        if cut_down("sd-models", decoded(reply.body)) != lists["sd-models"]:
            raise AttemptFailed("The backend's list of checkpoints is changing.")

    async def _calm(self, backend: Backend, watched: Watched, slot: SlotView, found: _Findings) -> None:
        """Interrupt what a lost job left running; quiet after two idle answers, a look apart.

        A job that crashed leaves its progress standing for ever (observed): what stands still that long is quiet too.
        """
        if watched.calmed != slot.mark:
            watched.calmed, watched.quiet_answers, watched.progress = slot.mark, 0, None
        try:
            await self._client.post(backend, "/sdapi/v1/interrupt", b"", ANSWER_TIMEOUT_S)
            reply = await self._client.get(backend, "/sdapi/v1/progress?skip_current_image=true", ANSWER_TIMEOUT_S)
        except AttemptFailed:
            watched.quiet_answers = 0
            return
        progress = decoded(reply.body)
        watched.quiet_answers = watched.quiet_answers + 1 if is_idle(progress) else 0
        if watched.progress is None or watched.progress != identity_of(progress):
            watched.progress, watched.progress_at = identity_of(progress), asyncio.get_running_loop().time()
        is_stale = asyncio.get_running_loop().time() - watched.progress_at > STALE_S
        if watched.quiet_answers >= QUIET_ANSWERS or is_stale:
            found.quiet[backend.name] = slot.mark


def is_idle(progress: object) -> bool:
    """Whether a `/progress` answer says that nothing runs."""
    if not isinstance(progress, dict):
        return False
    state = progress.get("state")
    return isinstance(state, dict) and not state.get("job") and not state.get("job_count")


def identity_of(progress: object) -> tuple[object, ...]:
    """What changes in `/progress` while a job goes on: its id, step and share done."""
    if not isinstance(progress, dict):
        return ()
    state = progress.get("state")
    step = state.get("sampling_step") if isinstance(state, dict) else None
    return progress.get("id"), step, progress.get("progress")
