"""Clocks of tests: one that jumps, and one that is set by hand.

`virtual_time`: an hour of sleeping passes in a millisecond, a hang is a failure at once; without real sockets.
`hand_set_time`: the clock runs, and the test may stop it and put it forward; with real sockets, which answer when they
do. Mark a test or a module: `pytestmark = pytest.mark.virtual_time`; the loop's `time()` is then that clock.
"""

from __future__ import annotations

import asyncio
import selectors


class _JumpingSelector(selectors.DefaultSelector):
    loop: VirtualTimeLoop

    def select(self, timeout=None):
        ready = super().select(0)
        if ready or (timeout is not None and timeout <= 0):
            return ready
        if timeout is None:
            raise RuntimeError("deadlock: every task waits and no timer is set")
        self.loop.now += timeout
        return []


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """A loop whose clock jumps to the next timer when every task waits."""

    def __init__(self) -> None:
        self.now = 0.0
        selector = _JumpingSelector()
        selector.loop = self
        super().__init__(selector)

    def run_in_executor(self, executor, work, *arguments):
        """What goes to a thread is done at once: the clock must not jump while a thread is at it."""
        if executor is not None:
            return super().run_in_executor(executor, work, *arguments)
        done = self.create_future()
        try:
            done.set_result(work(*arguments))
        except Exception as error:  # noqa: BLE001 - raised where the result is awaited
            done.set_exception(error)
        return done

    def time(self) -> float:
        return self.now


class HandSetLoop(asyncio.SelectorEventLoop):
    """A loop whose clock the test may stop, put forward and let run again; no timer is due while it stands still."""

    def __init__(self) -> None:
        self._ahead_s, self._stopped_at = 0.0, None
        super().__init__()

    def time(self) -> float:
        return super().time() + self._ahead_s if self._stopped_at is None else self._stopped_at

    def stop_clock(self) -> None:
        self._stopped_at = self.time()

    def put_forward(self, seconds: float) -> None:
        """What would be due by then is due now."""
        if self._stopped_at is None:
            self._ahead_s += seconds
        else:
            self._stopped_at += seconds

    def let_run(self) -> None:
        """On from where it stands."""
        stopped_at, self._stopped_at = self._stopped_at, None
        self._ahead_s += stopped_at - self.time()
