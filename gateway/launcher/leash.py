"""Become a command that dies with its parent: `python leash.py SIGNAL PARENT COMMAND...`.

Run as a file of its own before the real command, so that neither a fork of a process with threads nor code between
fork and exec is needed. Linux sends SIGNAL when the *thread* that started us ends (prctl(2), PR_SET_PDEATHSIG), which
is why children are started from the main thread. Elsewhere only the check below holds, and whoever starts next clears
what was left. Knows nothing of the gateway.
"""

from __future__ import annotations

import ctypes
import os
import sys

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def become(signal_number: int, parent: int, command: list[str]) -> None:
    """Replace this process by `command`, which gets `signal_number` when process `parent` ends. Never returns.

    Raises OSError when the command cannot be run, SystemExit when the parent is gone already.
    """
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(_PR_SET_PDEATHSIG, signal_number, 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) was refused")
    if os.getppid() != parent:
        # The parent ended before the line above; no signal will come any more.
        raise SystemExit(1)
    os.execv(command[0], command)  # noqa: S606 - becoming the given command is what this file is for


if __name__ == "__main__":
    become(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])
