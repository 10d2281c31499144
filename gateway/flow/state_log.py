"""The log's lines about backends: one for each change of state, by the process that leads.

A leader that begins says nothing of what is as it was: that a backend is up is told when it was not so before.
"""

from __future__ import annotations

from gateway.domain.backends import FIT, BackendState, Condition
from gateway.ports import Log

_WARNINGS = frozenset({BackendState.DOWN, BackendState.SET_ASIDE})
_WITH_REASON = frozenset({BackendState.SET_ASIDE, BackendState.PREPARING})


class StateLog:
    """What was told last of each backend, and how it was last seen in the store; `log` gets what is new."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._told: dict[str, tuple[str, str]] = {}
        self._stored: dict[str, tuple[str, str]] = {}

    def forget(self) -> None:
        """This process leads no more: another one tells."""
        self._told.clear()
        self._stored.clear()

    def seen(self, name: str, state: str | None, condition: Condition) -> None:
        """So it stands in the store by now: told where a job found it so, in whatever process.

        What was told is seen there a moment later, and is no news then.
        """
        key = _key(state or "", condition)
        before, self._stored[name] = self._stored.get(name), key
        if name not in self._told:
            self._told[name] = key
        elif key != before and state in (*_WARNINGS, BackendState.PREPARING):
            self.backend(name, state, condition)

    def backend(self, name: str, state: str, condition: Condition = FIT) -> None:
        """It is in this state from now on."""
        before = self._told.get(name, ("", ""))
        if (key := _key(state, condition)) == before:
            return
        self._told[name] = key
        if state == BackendState.UNSEEN or (state == BackendState.UP and before[0] == BackendState.UNSEEN):
            return
        tell = self._log.warn if state in _WARNINGS else self._log.tell
        tell(f"backend_{state}", backend=name, **({"reason": condition.reason} if condition.reason else {}))

    def removed(self, name: str) -> None:
        """It is no longer part of the pool."""
        self._stored.pop(name, None)
        if self._told.pop(name, None) is not None:
            self._log.tell("backend_removed", backend=name)


def _key(state: str, condition: Condition) -> tuple[str, str]:
    return state, condition.reason if state in _WITH_REASON else ""
