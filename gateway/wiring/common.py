"""The pool as configured, the log, and the time: what serving and commands share."""

from __future__ import annotations

import time

from gateway.domain.backends import Backend
from gateway.ports import Log
from gateway.settings import Settings


def open_log(settings: Settings) -> Log:
    """Where lines go that operators read."""
    from gateway.adapters.telemetry import Log as LogLines

    return LogLines(settings.log_level, settings.log_format)


def wall_clock() -> float:
    """Seconds since the epoch."""
    return time.time()  # noqa: TID251 - this is where time is supplied


def backends_of(settings: Settings) -> dict[str, Backend]:
    """The pool as the configuration declares it, by name."""
    return {
        entry.name: Backend(
            entry.name, entry.url, entry.username, entry.password.get_secret_value(), is_managed=entry.manage
        )
        for entry in settings.backends
    }
