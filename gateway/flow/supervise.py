"""The loops that live as long as the process: restarted with back-off, counted, named.

A loop that fails 5 times within a minute ends the process: better restarted from outside than half alive. A store that
is away is no failure of a loop and is told elsewhere (`outages`): the loop tries again every second until the store is
back. Work of one call never runs here.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from gateway.domain.errors import StoreUnavailable
from gateway.domain.masking import masked

FAILURES_THAT_END = 5
WITHIN_S = 60.0
FIRST_PAUSE_S = 0.2
STORE_PAUSE_S = 1.0
CANCEL_AGAIN_S = 0.5

Loop = Callable[[], Awaitable[None]]
OnFailure = Callable[[str, BaseException], None]


@dataclass(slots=True)
class LoopState:
    """How one loop fares; `failures` holds the loop-clock times of the last minute's failures."""

    name: str
    restarts: int = 0
    is_running: bool = False
    last_error: str = ""
    failures: deque[float] = field(default_factory=deque)


class LoopsFailed(Exception):
    """A loop failed too often; the process must end with status 1."""


class Supervisor:
    """Runs named loops until it is cancelled. `on_failure` is told of every failure of a loop's own."""

    def __init__(self, on_failure: OnFailure) -> None:
        self._on_failure = on_failure
        self._loops: dict[str, tuple[Loop, LoopState]] = {}

    @property
    def states(self) -> tuple[LoopState, ...]:
        """Every loop's state, in the order they were added."""
        return tuple(state for _, state in self._loops.values())

    def add(self, name: str, loop: Loop) -> None:
        """Have `loop` run when `run` is called; it is called again when it returns or fails."""
        self._loops[name] = (loop, LoopState(name))

    async def run(self) -> None:
        """Run all loops. Raises LoopsFailed when one fails too often; all others are cancelled then."""
        try:
            async with asyncio.TaskGroup() as group:
                tasks = {
                    group.create_task(self._keep_running(loop, state), name=f"loop:{state.name}")
                    for loop, state in self._loops.values()
                }
                try:
                    await asyncio.wait(tasks)
                except asyncio.CancelledError:
                    await _end(tasks)
                    raise
        except* LoopsFailed as failed:
            raise failed.exceptions[0] from None

    async def _keep_running(self, loop: Loop, state: LoopState) -> None:
        clock = asyncio.get_running_loop().time
        while True:
            state.is_running = True
            try:
                await loop()
            except StoreUnavailable as away:
                state.last_error = f"StoreUnavailable: {away}"
                pause_s = STORE_PAUSE_S
            except Exception as error:  # noqa: BLE001 - whatever a loop dies of, the others go on and it starts again
                state.last_error = masked(f"{type(error).__name__}: {error}")  # anybody may ask for /readyz
                self._on_failure(state.name, error)
                state.failures.append(clock())
                pause_s = FIRST_PAUSE_S * 2 ** len(state.failures)
            else:
                pause_s = FIRST_PAUSE_S
            finally:
                state.is_running = False
            while state.failures and clock() - state.failures[0] > WITHIN_S:
                state.failures.popleft()
            if len(state.failures) >= FAILURES_THAT_END:
                raise LoopsFailed(f"loop {state.name} failed {FAILURES_THAT_END} times within {WITHIN_S:.0f} s")
            state.restarts += 1
            await asyncio.sleep(pause_s)


async def _end(tasks: set[asyncio.Task[None]]) -> None:
    """Cancel until all have ended: redis-py swallows a cancellation now and then (observed on Python 3.11)."""
    while tasks:
        for task in tasks:
            task.cancel()
        _, tasks = await asyncio.wait(tasks, timeout=CANCEL_AGAIN_S)
