"""A job: one generation or upscale asked of the pool. Its id is minted by the gateway."""

from __future__ import annotations

from enum import StrEnum


class Operation(StrEnum):
    """What a job asks of a backend; the value is the last part of the backend's path."""

    TXT2IMG = "txt2img"
    IMG2IMG = "img2img"
    UPSCALE = "extra-single-image"
    CAPTION = "caption"

    @property
    def has_checkpoint(self) -> bool:
        """Whether a checkpoint does the work."""
        return self in (Operation.TXT2IMG, Operation.IMG2IMG)


class Outcome(StrEnum):
    """How an admitted job ended; each admitted job has exactly one, in its ledger record."""

    FINISHED = "finished"
    INTERRUPTED = "interrupted"
    FAILED = "failed"
    EXPIRED = "expired"
    WITHDRAWN = "withdrawn"
    LOST = "lost"
