"""What operators see."""

from __future__ import annotations

from typing import Any, Protocol


class Log(Protocol):
    """Structured lines; never a credential, a prompt or an image."""

    def call(self, **fields: Any) -> None:  # noqa: ANN401 - whatever a line holds
        """The one line of a call, with stable field names."""

    def tell(self, event: str, **fields: Any) -> None:  # noqa: ANN401 - as above
        """Something an operator may want to know later."""

    def warn(self, event: str, **fields: Any) -> None:  # noqa: ANN401 - as above
        """Something an operator may have to act on."""

    def failed(self, event: str, error: BaseException, **fields: Any) -> None:  # noqa: ANN401 - as above
        """A defect or an outage, with its trace."""
