"""What a running gateway leaves for the commands of its machine: `DATA_DIR/running.json`, for its own user only.

The file is locked for as long as the gateway lives, so that one a killed gateway left behind is known for what it is.
It holds no secret: an address with a password stands there without it, and a command needs the same configuration.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from gateway.domain.mendable import Mendable
from gateway.handover import without_secrets
from gateway.settings import Settings

FILE = "running.json"
_TRIES, _TRY_AGAIN_S = 10, 0.02


class RecordUnreadable(Mendable):
    """A gateway may run on the data directory, but its record cannot be read; the sentence says why and what to do."""


@dataclass(frozen=True, slots=True)
class Running:
    """A gateway that runs: its outermost process, where it listens, its TOML file ("" for none), where it keeps things
    (settings as JSON, without any secret), and the names of those settings that had a secret.
    """

    pid: int
    address: str
    config: str
    values: Mapping[str, Any]
    withheld: tuple[str, ...]


def running_at(data_dir: Path) -> Running | None:
    """The gateway that runs on this data directory, None if none does. Raises RecordUnreadable."""
    path = data_dir / FILE
    try:
        with path.open(encoding="utf-8") as record:
            if _lock(record.fileno(), fcntl.LOCK_SH):
                return None  # nobody holds it: left behind
            found = json.load(record)
        return Running(**{**found, "withheld": tuple(found["withheld"])})
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise RecordUnreadable(
            f"{path} cannot be read ({error.strerror}): a gateway of another user keeps its data there. Type the "
            "command as that user."
        ) from error
    except (ValueError, TypeError, KeyError) as error:
        raise RecordUnreadable(f"The gateway on {data_dir} is only just starting. Try again in a moment.") from error


@contextlib.contextmanager
def recorded(settings: Settings, address: str) -> Iterator[None]:
    """This gateway can be found while the block lasts. Where the file cannot be written, or another gateway has it,
    commands need its configuration.
    """
    try:
        handle = _opened(settings.data_dir / FILE)
    except OSError:
        handle = None
    if handle is None:
        yield
        return
    try:
        values, withheld = without_secrets(settings)
        config = str(settings.config.resolve()) if settings.config else ""
        running = Running(os.getpid(), address, config, values, withheld)
        os.ftruncate(handle, 0)
        os.pwrite(handle, json.dumps(asdict(running)).encode(), 0)
        yield
    finally:
        with contextlib.suppress(OSError):
            (settings.data_dir / FILE).unlink()
        os.close(handle)


def _opened(path: Path) -> int | None:
    """The open, locked file; None if another gateway has it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    for _ in range(_TRIES):  # a command that looks holds it for a moment, and one that ends removes it
        handle = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        if _lock(handle, fcntl.LOCK_EX) and os.fstat(handle).st_nlink:
            return handle
        os.close(handle)
        time.sleep(_TRY_AGAIN_S)
    return None


def _lock(handle: int, kind: int) -> bool:
    try:
        fcntl.flock(handle, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
