"""Owning child processes: start them so that they die with us, stop them in bounded time, decide when to try again.

Every child is started here, and nowhere else. A child lives in its own session: Ctrl-C reaches the launcher alone,
which then ends its children in the right order.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

_LEASH = Path(__file__).with_name("leash.py")


@dataclass(frozen=True, slots=True)
class Command:
    """What to run: `argv[0]` is an absolute path, `environment` is all it gets, `fds` keep their numbers.

    `output` takes both its streams, None lets it write where we do; `dies_by` is the signal it gets when this process
    ends in whatever way (Linux).
    """

    argv: Sequence[str]
    environment: Mapping[str, str]
    fds: tuple[int, ...] = ()
    dies_by: signal.Signals = signal.SIGKILL
    output: IO[bytes] | None = None


def gateway(*arguments: str) -> list[str]:
    """The command line of another `gateway` process with the same Python and the same code.

    `-P`: a folder called `gateway` in the current directory is not ours.
    """
    return [sys.executable, "-P", "-m", "gateway", *arguments]


def start(command: Command) -> subprocess.Popen[bytes]:
    """A running child, leader of its own session, that ends when this process does.

    Only from the main thread (RuntimeError otherwise): Linux would end the child together with the starting thread.
    """
    if threading.current_thread() is not threading.main_thread():
        raise RuntimeError("Start children from the main thread: they die with the thread that started them.")
    leash = [sys.executable, "-I", "-S", str(_LEASH), str(int(command.dies_by)), str(os.getpid())]
    return subprocess.Popen(  # noqa: S603 - the command is ours, not a user's
        [*leash, *command.argv],
        env=dict(command.environment),
        pass_fds=command.fds,
        stdin=subprocess.DEVNULL,
        stdout=command.output,
        stderr=command.output,
        start_new_session=True,
    )


def stop(process: subprocess.Popen[bytes], patience_s: float, by: signal.Signals = signal.SIGTERM) -> bool:
    """End a child: `by` first, SIGKILL after `patience_s` seconds. True if it went by itself. It is gone on return."""
    if process.poll() is None:
        process.send_signal(by)
    try:
        process.wait(patience_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return False
    return True


@dataclass(slots=True)
class Restarts:
    """When to start a child again after its deaths, and when to give up. Knows no clock: `now` in seconds is given.

    The n-th death within `window_s` is answered by a pause of `first_pause_s` x 2^(n-1); `limit` deaths within the
    window end the trying.
    """

    limit: int = 5
    window_s: float = 60.0
    first_pause_s: float = 0.1
    _deaths: list[float] = field(default_factory=list)

    def pause_after_death(self, now: float) -> float | None:
        """Seconds to wait before the next start, None to give up."""
        self._deaths = [death for death in self._deaths if now - death < self.window_s]
        self._deaths.append(now)
        if len(self._deaths) >= self.limit:
            return None
        return float(self.first_pause_s * 2 ** (len(self._deaths) - 1))
