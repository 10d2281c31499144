"""Usage as operators ask for it: sums over ledger records, by tenant, key, model and day (UTC)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

DAY_S = 86_400


class Grouping(StrEnum):
    """What a row of usage is about; several may be combined."""

    TENANT = "tenant"
    KEY = "key"
    MODEL = "model"
    DAY = "day"


def day_of(epoch_s: float) -> int:
    """Whole days (UTC) since the epoch at `epoch_s` seconds since the epoch."""
    return int(epoch_s // DAY_S)


@dataclass(frozen=True, slots=True)
class UsageQuestion:
    """Jobs that entered in [`since`, `until`), seconds since the epoch; ids and the model bound it, "" is all."""

    by: tuple[Grouping, ...]
    since: float
    until: float
    tenant_id: str = ""
    key_id: str = ""
    model: str = ""


@dataclass(frozen=True, slots=True)
class UsageRow:
    """Sums of one group. `groups` are labels in the order asked; a day is written 2026-01-31.

    `images` and `gpu_seconds` are what counts against quotas; `queue_s` and `swap_s` are sums too.
    """

    groups: tuple[str, ...]
    jobs: int = 0
    finished: int = 0
    images: int = 0
    gpu_seconds: float = 0.0
    queue_s: float = 0.0
    swap_s: float = 0.0
    megapixel_steps: float = 0.0
    bytes_in: int = 0
    bytes_out: int = 0
