"""Looks after the backends: up or down, fit for work, what they have, what is loaded, when a lost one is quiet again.

Only the process that leads looks; what it finds is published to all. A health check never waits behind a backend's
lock: it asks what SD.Next answers in milliseconds while it generates or loads (observed). One that hangs delays no
other: each backend has a look of its own, and what the looks of a second found is published together.

A backend gets work (`UP`) only once its managed options were confirmed since its server process began. A new process is
known by its uptime, by its address, and by having been away; where that cannot be told, the options are read at every
look.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from gateway.domain.backends import (
    FIT,
    NEEDS_RESTART,
    Backend,
    BackendState,
    Condition,
    ServerProcess,
    is_replaced,
)
from gateway.domain.errors import AttemptFailed, BackendUnreachable, StoreUnavailable
from gateway.flow.ids import new_id
from gateway.flow.observe import (
    ANSWER_TIMEOUT_S,
    STALE_S,
    identity_of,
    is_idle,
    loaded_title,
    progress_of,
    read_lists,
    uptime_s,
)
from gateway.flow.snapshot import CurrentCatalogue, Rescan
from gateway.flow.state_log import StateLog
from gateway.flow.upkeep import Upkeep
from gateway.ports import Log, PoolChanges, PoolNews, PoolStore, SlotView

LOOK_EVERY_S = 1.0
STAND_BY_S = 0.1  # a new leader looks at once: until it did, nobody gets a backend
READ_LISTS_EVERY_S = 600.0
CONFIRM_EVERY_S = 10.0
FAILURES_TO_BE_DOWN = 2
QUIET_ANSWERS = 2
SET_ASIDE_S = 30.0
LONGEST_LOAD_S = 900.0
HANGING_LOAD = "A load of a checkpoint has not ended for 15 minutes: restart it."


@dataclass(slots=True)
class Watched:
    """What the watcher remembers of one backend between two looks. `fit_at` and `progress_at` by the loop's clock."""

    url: str
    failures: int = 0
    process: ServerProcess | None = None
    is_fit: bool = False
    fit_at: float = 0.0
    read_at: float = 0.0
    rescan: Rescan = field(default_factory=Rescan)
    quiet_answers: int = 0
    set_aside_at: float = 0.0
    calmed: str = ""
    progress: tuple[object, ...] | None = None
    progress_at: float = 0.0
    state: BackendState = BackendState.UNSEEN
    condition: Condition = FIT


@dataclass(frozen=True, slots=True)
class _Before:
    """How a backend stood in the store when the look at it began."""

    state: str | None
    condition: Condition
    slot: SlotView | None
    at: float

    @classmethod
    def in_(cls, seen: PoolChanges, name: str) -> _Before:
        return cls(seen.states.get(name), seen.conditions.get(name, FIT), seen.slots.get(name), seen.at)


@dataclass(slots=True)
class _Findings:
    states: dict[str, tuple[BackendState, Condition, _Before]] = field(default_factory=dict)
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
        pool: PoolStore,
        upkeep: Upkeep,
        current: CurrentCatalogue,
        log: Log,
        *,
        pool_seen: Callable[[], PoolChanges | None],
    ) -> None:
        self._backends = backends
        self._client = upkeep.client
        self._pool = pool
        self._upkeep = upkeep
        self._current = current
        self._log = StateLog(log)
        self._pool_seen = pool_seen
        self._watched: dict[str, Watched] = {}
        self._looks: dict[str, asyncio.Task[None]] = {}
        self._found = _Findings()

    async def run(self) -> None:
        """Look once a second, for ever, while this process leads. Raises StoreUnavailable."""
        try:
            async with asyncio.TaskGroup() as looks:
                while True:
                    await self._round(looks)
        except* StoreUnavailable as away:
            raise away.exceptions[0] from None
        finally:
            self._stop()

    async def _round(self, looks: asyncio.TaskGroup) -> None:
        """Begin a look at every backend, for a second; what was found by then is published."""
        seen = self._pool_seen()
        if seen is None:
            self._stop()
            await asyncio.sleep(STAND_BY_S)
            return
        clock = asyncio.get_running_loop().time
        until = clock() + LOOK_EVERY_S
        backends = self._backends()
        self._forget(seen, backends)
        for backend in backends:
            look = self._looks.get(backend.name)
            if look is None or look.done():
                self._looks[backend.name] = looks.create_task(self._look_at(backend, _Before.in_(seen, backend.name)))
        if self._looks:
            await asyncio.wait(self._looks.values(), timeout=max(0.0, until - clock()))
        await self._publish(seen, backends)
        await asyncio.sleep(max(0.0, until - clock()))

    def _stop(self) -> None:
        """This process does not lead: what it remembers may be out of date when it does again."""
        for look in self._looks.values():
            look.cancel()
        self._looks.clear()
        self._watched.clear()
        self._log.forget()
        self._found = _Findings()

    def _forget(self, seen: PoolChanges, backends: Sequence[Backend]) -> None:
        for name in (seen.states.keys() | self._watched.keys()) - {backend.name for backend in backends}:
            self._log.removed(name)
            self._watched.pop(name, None)
            if (look := self._looks.pop(name, None)) is not None:
                look.cancel()

    async def _publish(self, seen: PoolChanges, backends: Sequence[Backend]) -> None:
        """What differs from what the store has. What somebody else published since a look began is left to the next."""
        seen, found, self._found = self._pool_seen() or seen, self._found, _Findings()
        changed = {
            name: (state, condition)
            for name, (state, condition, before) in found.states.items()
            if (state, condition) != (before.state, before.condition) and seen.states.get(name) == before.state
        }
        news = PoolNews(
            states={name: state for name, (state, _) in changed.items()},
            conditions={name: condition for name, (_, condition) in changed.items()},
            loaded={name: title for name, title in found.loaded.items() if seen.loaded.get(name) != title},
            quiet=found.quiet,
            removed=tuple(seen.states.keys() - {backend.name for backend in backends}),
            inventories=found.inventories,
        )
        if news != PoolNews():
            await self._pool.publish(new_id(), news)
        for name, (state, condition) in changed.items():
            self._log.backend(name, state, condition)

    # --- one backend -----------------------------------------------------------------------------

    async def _look_at(self, backend: Backend, before: _Before) -> None:
        watched = self._watched_of(backend, before)
        try:
            title = await loaded_title(self._client, backend)
            is_new, began_at = await self._recognise(backend, watched, before)
            reason = await self._make_fit(backend, watched, before)
            await self._read_if_due(backend, watched, before, is_new=is_new)
        except StoreUnavailable:
            return  # that says nothing about the backend
        except AttemptFailed as error:
            self._failed(watched, error, before)
        else:
            watched.failures = 0
            self._judge(watched, before, reason, (is_new, began_at))
            if before.slot is None and title is not None:
                self._found.loaded[backend.name] = self._current.name_of(backend.name, title)
            if before.slot is not None and before.slot.is_recovering:
                await self._calm(backend, watched, before.slot, is_empty=title == "")
        # Also of one that is down: its operator took it out, and need not be woken when it is stopped.
        state = BackendState.DRAINING if backend.is_draining else watched.state
        condition = replace(watched.condition, reason="") if backend.is_draining else watched.condition
        self._found.states[backend.name] = (state, condition, before)

    def _watched_of(self, backend: Backend, before: _Before) -> Watched:
        watched = self._watched.get(backend.name)
        if watched is None or watched.url != backend.url:  # another address is another server
            watched = Watched(backend.url)
            self._watched[backend.name] = watched
        self._log.seen(backend.name, before.state, before.condition)
        return watched

    async def _recognise(self, backend: Backend, watched: Watched, before: _Before) -> tuple[bool, float]:
        """Whether another server process answers than at the last look, and when it began by the store's clock (0.0
        where it does not say).
        """
        clock = asyncio.get_running_loop().time
        asked_at = clock()
        uptime = await uptime_s(self._client, backend)
        if uptime is None:
            watched.process = None
            return False, 0.0
        process = ServerProcess.told_by(uptime, asked_at, clock())
        is_new = watched.process is not None and process.is_other_than(watched.process)
        watched.process = process
        watched.is_fit = watched.is_fit and not is_new
        return is_new, before.at - uptime

    async def _make_fit(self, backend: Backend, watched: Watched, before: _Before) -> str:
        """Why it is not to be given work yet, "" when its options are right."""
        now = asyncio.get_running_loop().time()
        # Somebody may have found it otherwise, or nobody has looked for a while.
        is_trusted = before.state in (BackendState.UP, BackendState.DRAINING, BackendState.SET_ASIDE)
        is_due = watched.process is None or now - watched.fit_at > CONFIRM_EVERY_S
        if watched.is_fit and is_trusted and not is_due:
            return ""
        watched.is_fit = False
        reason = await self._upkeep.make_fit(backend)
        watched.is_fit, watched.fit_at = not reason, now
        return reason

    async def _read_if_due(self, backend: Backend, watched: Watched, before: _Before, *, is_new: bool) -> None:
        """Its lists, when it comes (back) or was not read for a while."""
        # Also when a job found it dead meanwhile: it may have been started anew between two looks.
        # What no state is known of has no lists either: it is new, or the store lost them.
        was_gone = is_new or bool({BackendState.DOWN, None} & {watched.state, before.state})
        rescan = self._upkeep.rescanned.get(backend.name) or self._current.rescan_of(backend.name)
        is_due = before.at - watched.read_at > READ_LISTS_EVERY_S or watched.rescan != rescan
        if was_gone or (is_due and backend.name not in self._upkeep.rescanning):
            known = self._current.published.get(backend.name)
            lists = await read_lists(self._client, backend, known, lambda: before.at)
            self._found.inventories[backend.name] = replace(lists, rescan=rescan).to_bytes()
            watched.read_at, watched.rescan = before.at, rescan

    @staticmethod
    def _failed(watched: Watched, error: AttemptFailed, before: _Before) -> None:
        watched.failures += 1
        condition = replace(before.condition, reason=str(error))
        if watched.failures >= FAILURES_TO_BE_DOWN or isinstance(error, BackendUnreachable):
            watched.state, watched.condition, watched.is_fit = BackendState.DOWN, condition, False
        elif not watched.is_fit:  # one bad answer of a backend that was well says nothing yet
            is_up = watched.state == BackendState.UP
            watched.state, watched.condition = BackendState.PREPARING if is_up else watched.state, condition

    @staticmethod
    def _judge(watched: Watched, before: _Before, reason: str, process: tuple[bool, float]) -> None:
        """(1) What only a restart mends waits for one. (2) Not fit, no work. (3) What a job had set aside stays so for
        a while, whatever a look says. (4) Up.
        """
        (is_new, began_at), condition = process, before.condition
        was_set_aside = before.state == BackendState.SET_ASIDE
        is_mended = is_new or is_replaced(condition, began_at) or (not began_at and not was_set_aside)
        if condition.needs_restart and not is_mended:  # (1)
            why = condition.reason if was_set_aside else NEEDS_RESTART
            watched.state = BackendState.SET_ASIDE
            watched.condition = Condition(why, needs_restart=True, began_at=condition.began_at or began_at)
        elif reason:  # (2)
            watched.state, watched.condition = BackendState.PREPARING, Condition(reason)
        elif was_set_aside and not is_new and not condition.needs_restart and _stays(watched, before.at):  # (3)
            watched.state, watched.condition = BackendState.SET_ASIDE, condition
        else:  # (4)
            watched.state, watched.condition = BackendState.UP, FIT
        if watched.state != BackendState.SET_ASIDE:
            watched.set_aside_at = 0.0

    async def _calm(self, backend: Backend, watched: Watched, slot: SlotView, *, is_empty: bool) -> None:
        """Interrupt what a lost job left running; quiet after two idle answers, a look apart.

        A job that crashed leaves its progress standing for ever (observed): what stands still that long is quiet too.
        Not while nothing is in memory (`is_empty`): then it loads, and a load beside a load can break it for good.
        """
        if watched.calmed != slot.mark:
            watched.calmed, watched.quiet_answers, watched.progress = slot.mark, 0, None
        try:
            await self._client.post(backend, "/sdapi/v1/interrupt", b"", ANSWER_TIMEOUT_S)
            progress = await progress_of(self._client, backend)
        except AttemptFailed:
            watched.quiet_answers = 0
            return
        now = asyncio.get_running_loop().time()
        watched.quiet_answers = watched.quiet_answers + 1 if is_idle(progress) else 0
        if watched.progress is None or watched.progress != identity_of(progress):
            watched.progress, watched.progress_at = identity_of(progress), now
        stood_still_s = now - watched.progress_at
        if watched.quiet_answers >= QUIET_ANSWERS or stood_still_s > (LONGEST_LOAD_S if is_empty else STALE_S):
            self._found.quiet[backend.name] = slot.mark
            if watched.quiet_answers == 0 and is_empty:
                watched.state, watched.condition = BackendState.SET_ASIDE, Condition(HANGING_LOAD, needs_restart=True)


def _stays(watched: Watched, now: float) -> bool:
    """Whether its time has not passed since it was first seen to be set aside."""
    watched.set_aside_at = watched.set_aside_at or now
    if now - watched.set_aside_at < SET_ASIDE_S:
        return True
    watched.set_aside_at = 0.0
    return False
