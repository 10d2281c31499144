"""Waiting in one place for signals, ended children and the clock, without threads and without asyncio."""

from __future__ import annotations

import contextlib
import select
import signal
import socket
from types import FrameType, TracebackType
from typing import Self

STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Wakeups:
    """Inside a `with` block SIGTERM, SIGINT and SIGHUP are collected, and `wait` sleeps until one of them comes.

    Main thread only: elsewhere Python takes no signals.
    """

    def __init__(self) -> None:
        self._arrived: list[signal.Signals] = []
        self._restore = contextlib.ExitStack()
        self._readable, self._writable = socket.socketpair()

    def __enter__(self) -> Self:
        for end in (self._readable, self._writable):
            end.setblocking(False)
            self._restore.callback(end.close)
        self._restore.callback(signal.set_wakeup_fd, signal.set_wakeup_fd(self._writable.fileno()))
        for number in (*STOPPING, signal.SIGCHLD):
            if number == signal.SIGHUP and signal.getsignal(number) == signal.SIG_IGN:
                continue  # started by nohup: the end of the terminal is not to end us
            self._restore.callback(signal.signal, number, signal.signal(number, self._note))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._restore.close()

    def wait(self, seconds: float | None, also: socket.socket | None = None) -> signal.Signals | None:
        """Sleep until a signal, the end of a child, data on `also`, or `seconds` (None for ever).

        Returns the next stopping signal, None if something else ended the sleep.
        """
        if not self._arrived:
            watched = [self._readable] if also is None else [self._readable, also]
            select.select(watched, [], [], None if seconds is None else max(0.0, seconds))
        with contextlib.suppress(BlockingIOError):
            self._readable.recv(4096)
        return self._arrived.pop(0) if self._arrived else None

    def _note(self, number: int, frame: FrameType | None) -> None:
        if number in STOPPING:
            self._arrived.append(signal.Signals(number))
