"""Logs: one JSON line a call, further lines only for what an operator must act on. Never a credential or a prompt."""

from __future__ import annotations

import logging
import sys
from typing import Any

import msgspec
import structlog


class Log:
    """Structured lines on standard error. Fulfils `ports.Log`."""

    def __init__(self, level: str, form: str) -> None:
        renderer = structlog.dev.ConsoleRenderer() if form == "console" else structlog.processors.JSONRenderer(_as_json)
        self._log = structlog.wrap_logger(
            structlog.WriteLogger(sys.stderr),
            processors=[
                structlog.processors.add_log_level,
                structlog.processors.TimeStamper(fmt="iso", utc=True),
                structlog.processors.format_exc_info,
                renderer,
            ],
            wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        ).bind()  # unbound, it would be put together anew for every line

    def call(self, **fields: Any) -> None:  # noqa: ANN401 - whatever a line holds
        """The one line of a call, with stable field names."""
        self._log.info("call", **fields)

    def tell(self, event: str, **fields: Any) -> None:  # noqa: ANN401 - as above
        """Something an operator may want to know later."""
        self._log.info(event, **fields)

    def warn(self, event: str, **fields: Any) -> None:  # noqa: ANN401 - as above
        """Something an operator may have to act on."""
        self._log.warning(event, **fields)

    def failed(self, event: str, error: BaseException, **fields: Any) -> None:  # noqa: ANN401 - as above
        """A defect or an outage, with its trace."""
        self._log.error(event, exc_info=error, **fields)


def _as_json(fields: Any, **_options: Any) -> str:  # noqa: ANN401 - whatever a line holds
    return msgspec.json.encode(fields, enc_hook=repr).decode()
