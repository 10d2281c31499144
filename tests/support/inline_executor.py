"""An executor that works at once, in the thread that asks, and remembers what it was given."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import Any


class InlineExecutor(Executor):
    """For loops in virtual time, which cannot wait for threads."""

    def __init__(self) -> None:
        self.submitted: list[Callable[..., Any]] = []

    def submit(self, work: Callable[..., Any], /, *args: Any, **options: Any) -> Future[Any]:
        self.submitted.append(work)
        done: Future[Any] = Future()
        try:
            done.set_result(work(*args, **options))
        except Exception as error:  # noqa: BLE001 - the caller's, as from a thread
            done.set_exception(error)
        return done


class RememberingThreads(ThreadPoolExecutor):
    """Threads that remember how often they were asked: a loop takes no other kind for its own."""

    asked = 0

    def submit(self, work: Callable[..., Any], /, *args: Any, **options: Any) -> Future[Any]:
        self.asked += 1
        return super().submit(work, *args, **options)
