"""The socket between the launcher and one of its workers: the settings go down, why it cannot start comes up.

A reason that no restart can mend (a wrong password, an unfit store) goes to the launcher instead of standard error: all
workers have the same one, and the operator is to read it once.
"""

from __future__ import annotations

import contextlib
import socket
import subprocess
from dataclasses import dataclass

from gateway.handover import environment_of_child, handed_over
from gateway.launcher import processes
from gateway.settings import Settings

_HANDOVER_S = 30.0  # a worker reads in its first second; one that does not is as good as dead
_MOST_BYTES = 65_536


@dataclass(slots=True)
class Channel:
    """The launcher's end."""

    _socket: socket.socket

    def reason(self) -> str:
        """What the worker said before it ended; "" if nothing. The channel is closed then."""
        with self._socket, contextlib.suppress(OSError):
            self._socket.setblocking(False)
            return self._socket.recv(_MOST_BYTES).decode(errors="replace")
        return ""

    def close(self) -> None:
        """Hear no more."""
        self._socket.close()


def start_worker(settings: Settings, listening_fd: int) -> tuple[subprocess.Popen[bytes], Channel]:
    """A worker with these settings on the shared socket. Main thread only."""
    ours, theirs = socket.socketpair()
    with theirs:
        arguments = ("serve", "--fd", str(listening_fd), "--channel-fd", str(theirs.fileno()))
        command = processes.Command(
            processes.gateway(*arguments), environment_of_child(), fds=(listening_fd, theirs.fileno())
        )
        process = processes.start(command)
    ours.settimeout(_HANDOVER_S)
    with contextlib.suppress(OSError):  # it is gone already, which is seen to as any death is
        ours.sendall(handed_over(settings).encode())
        ours.shutdown(socket.SHUT_WR)
    return process, Channel(ours)


class WorkerEnd:
    """The worker's end."""

    def __init__(self, fd: int) -> None:
        self._socket = socket.socket(fileno=fd)

    def receive(self) -> str:
        """All that the launcher hands over."""
        with self._socket.makefile("r", encoding="utf-8") as text:
            return text.read()

    def tell(self, reason: str) -> None:
        """Say why this worker cannot serve, and no restart of it would."""
        with contextlib.suppress(OSError):
            self._socket.sendall(reason.encode()[:_MOST_BYTES])
