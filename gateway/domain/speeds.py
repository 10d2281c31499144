"""What the pool has taught us: seconds per megapixel-step, per swap and per upscaled megapixel, of every backend.

A rate is learned per (backend, name), where name is a checkpoint or an upscaler, as a moving average; that of a swap as
the median of the latest few, as a load beside other work of the machine takes many times as long. A pair never seen
is guessed as the backend's own level times the name's own factor, both learned from the pairs that were seen; a backend
never seen starts at the median level of the pool. So a heavy checkpoint's first job on a slow card is guessed well.

`dump` and `load` turn all of it into plain rows, so that an adapter can keep it over restarts. No clock, no I/O.
"""

from __future__ import annotations

import math
import statistics
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

DEFAULT_SECONDS_PER_MEGAPIXEL_STEP = 0.25
"""A pool that has done nothing yet: a 25-step 1024x1024 image in about 6.5 s."""
DEFAULT_SWAP_S = 12.0
"""A pool that has loaded nothing yet; checkpoints of 2 to 12 GB take 10 to 30 s."""
DEFAULT_LANCZOS_SECONDS_PER_MEGAPIXEL = 0.05
_CHEAP_UPSCALERS = frozenset({"", "None", "Lanczos", "Nearest", "Bicubic", "Bilinear"})
_NETWORK_UPSCALER_FACTOR = 10.0

LONGEST_SWAP_S = 300.0
"""A load that seems to take longer was held up by something else."""
_SWAPS_REMEMBERED = 5
_SMOOTHING = 0.2
_LARGEST_STEP = 4.0
_FAR = 2.0
_MINIMUM = 1e-6

Row = tuple[str, str, str, float]
"""(kind, backend, name, value): kind is generation, swap or upscale; an empty backend or name stands for "any"."""


def _blend(before: float | None, seen: float) -> float:
    if before is None:
        return seen
    # One stalled download or one cache hit must not turn the estimate over: a step is at most fourfold.
    seen = min(max(seen, before / _LARGEST_STEP), before * _LARGEST_STEP)
    return before + _SMOOTHING * (seen - before)


@dataclass(slots=True)
class Rates:
    """One learned table: (backend, name) -> seconds per unit. A new name's factor is `first_factor`'s or the other.

    `most`: what is measured above it counts as that. `remembered`: of so many latest measurements of a pair the median
    counts, of an even number the lower; with 1 each counts for itself, smoothed.
    """

    default: float
    first_factor: dict[str, float] = field(default_factory=dict)
    other_factor: float = 1.0
    most: float = float("inf")
    remembered: int = 1
    _pairs: dict[tuple[str, str], float] = field(default_factory=dict)
    _levels: dict[str, float] = field(default_factory=dict)
    _factors: dict[str, float] = field(default_factory=dict)
    _median: float | None = None
    _latest: dict[tuple[str, str], deque[float]] = field(default_factory=dict, compare=False)

    def rate(self, backend: str, name: str) -> float:
        """Seconds per unit: measured if this pair was ever seen, else the best guess. Always > 0."""
        pair = self._pairs.get((backend, name))
        return pair if pair is not None else self.level(backend) * self.factor(name)

    def typical(self, name: str) -> float:
        """Seconds per unit of `name` on the pool's median backend."""
        return self._pool_level() * self.factor(name)

    def level(self, backend: str) -> float:
        """How slow the backend is, in seconds per unit of an average name; the pool's median for a new one."""
        level = self._levels.get(backend)
        return level if level is not None else self._pool_level()

    def factor(self, name: str) -> float:
        """How heavy the name is against an average one."""
        factor = self._factors.get(name)
        return factor if factor is not None else self.first_factor.get(name, self.other_factor)

    def knows(self, backend: str, name: str) -> bool:
        """Whether this very pair was ever measured."""
        return (backend, name) in self._pairs

    def observed(self, backend: str, name: str, rate: float) -> None:
        """Learn from one measurement in seconds per unit; values that are not above 0 teach nothing."""
        if not rate > _MINIMUM:
            return
        factor, level = self.factor(name), self.level(backend)
        rate = self._pairs[backend, name] = self._measured(backend, name, min(rate, self.most))
        # What is new explains the difference: a new backend its level, a new name its factor; of two new ones the name,
        # once there is a pool to compare with.
        knows_level, knows_factor = backend in self._levels, name in self._factors
        if not knows_level and not knows_factor:
            level = level if self._levels else rate / factor
            self._levels[backend], self._factors[name] = level, rate / level
        if knows_factor:
            self._levels[backend] = self._moved(self._levels.get(backend), rate / factor)
        if knows_level:
            self._factors[name] = self._moved(self._factors.get(name), rate / level)
        self._median = None

    def _measured(self, backend: str, name: str, rate: float) -> float:
        pair = backend, name
        known = self._pairs.get(pair)
        if self.remembered == 1:
            return _blend(known, rate)
        if pair not in self._latest:
            self._latest[pair] = deque([known] if known is not None else [], self.remembered)
        self._latest[pair].append(rate)
        return statistics.median_low(self._latest[pair])

    def _moved(self, before: float | None, seen: float) -> float:
        """A level or a factor after one more median: what a first outlier has put far too high falls at once."""
        if self.remembered > 1 and before is not None and seen < before / _FAR:
            return math.sqrt(before * seen)
        return _blend(before, seen)

    def forget(self, backend: str) -> None:
        """The backend left the pool for good."""
        self._levels.pop(backend, None)
        for pair in [pair for pair in self._pairs if pair[0] == backend]:
            del self._pairs[pair]
            self._latest.pop(pair, None)
        self._median = None

    def dump(self, kind: str) -> list[Row]:
        """All that was learned, as rows."""
        rows = [(kind, backend, name, value) for (backend, name), value in self._pairs.items()]
        rows += [(kind, backend, "", value) for backend, value in self._levels.items()]
        return rows + [(kind, "", name, value) for name, value in self._factors.items()]

    def load_row(self, backend: str, name: str, value: float) -> None:
        """Take one row of `dump` back."""
        if not value > 0:
            return
        if backend and name:
            self._pairs[backend, name] = value
        elif backend:
            self._levels[backend] = value
        else:
            self._factors[name] = value
        self._median = None

    def _pool_level(self) -> float:
        if self._median is None:
            self._median = statistics.median(self._levels.values()) if self._levels else self.default
        return self._median


@dataclass(slots=True)
class Speeds:
    """The three tables. Mutable, owned by one scheduler; every method is in seconds, megapixel-steps or megapixels."""

    generation: Rates = field(default_factory=lambda: Rates(DEFAULT_SECONDS_PER_MEGAPIXEL_STEP))
    swap: Rates = field(
        default_factory=lambda: Rates(DEFAULT_SWAP_S, most=LONGEST_SWAP_S, remembered=_SWAPS_REMEMBERED)
    )
    upscale: Rates = field(
        default_factory=lambda: Rates(
            DEFAULT_LANCZOS_SECONDS_PER_MEGAPIXEL, dict.fromkeys(_CHEAP_UPSCALERS, 1.0), _NETWORK_UPSCALER_FACTOR
        )
    )

    def finished_generation(self, backend: str, checkpoint: str, work: float, elapsed_s: float) -> None:
        """Learn from a generation that needed no swap: `work` in megapixel-steps took `elapsed_s`."""
        if work > 0:
            self.generation.observed(backend, checkpoint, elapsed_s / work)

    def finished_swap(self, backend: str, checkpoint: str, work: float, elapsed_s: float) -> None:
        """Learn the swap time from a job that began with one; its generation is what this pair is known to need.

        As long as the pair was never measured alone, `elapsed_s` is split in proportion to both estimates.
        """
        run_s = self.generation.rate(backend, checkpoint) * work
        if not self.generation.knows(backend, checkpoint):
            run_s *= elapsed_s / max(_MINIMUM, run_s + self.swap.rate(backend, checkpoint))
        self.swap.observed(backend, checkpoint, elapsed_s - run_s)

    def finished_upscale(self, backend: str, upscaler: str, output_megapixels: float, elapsed_s: float) -> None:
        """Learn from an upscale: so many output megapixels took `elapsed_s`."""
        if output_megapixels > 0:
            self.upscale.observed(backend, upscaler, elapsed_s / output_megapixels)

    def forget(self, backend: str) -> None:
        """The backend left the pool for good; what it taught about checkpoints stays."""
        for rates in (self.generation, self.swap, self.upscale):
            rates.forget(backend)

    def dump(self) -> list[Row]:
        """Everything learned, as rows for a table; `load` of it gives an equal object."""
        return [*self.generation.dump("generation"), *self.swap.dump("swap"), *self.upscale.dump("upscale")]

    @classmethod
    def load(cls, rows: Iterable[Row]) -> Speeds:
        """What `dump` gave; rows of an unknown kind are left out, so that an older process can read a newer one's."""
        speeds = cls()
        tables = {"generation": speeds.generation, "swap": speeds.swap, "upscale": speeds.upscale}
        for kind, backend, name, value in rows:
            if kind in tables:
                tables[kind].load_row(backend, name, value)
        return speeds
