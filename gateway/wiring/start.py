"""What makes a start fail for good, as one sentence: whoever runs the process ends it, and does not start it again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from gateway.adapters.sql.engine import DatabaseFailed
from gateway.domain.errors import GatewayError
from gateway.domain.mendable import Mendable
from gateway.settings import Settings


class StartFailed(Mendable):
    """The process cannot serve, nor could a restart of it; the sentence names the cause and the way out."""


@contextmanager
def failing_in_one_sentence(*foreseen: type[Exception]) -> Iterator[None]:
    """Errors of ours, and those foreseen, whose text is such a sentence, become StartFailed."""
    try:
        yield
    except GatewayError as error:
        raise StartFailed(str(error)) from error
    except foreseen as error:
        raise StartFailed(str(error)) from error


@contextmanager
def database_named(settings: Settings) -> Iterator[None]:
    """A database that fails inside becomes StartFailed, with where it is said to be and what to correct."""
    try:
        yield
    except DatabaseFailed as error:
        file = settings.data_dir / "gateway.db"
        remedy = (
            "Correct GATEWAY_DATABASE_URL, or the database."
            if settings.database_url
            else f"It is the file {file}: correct GATEWAY_DATA_DIR, or the file."
        )
        raise StartFailed(f"{error} {remedy}") from error
