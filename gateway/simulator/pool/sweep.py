"""The same trace on pools of different size: how many GPUs do I need?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from gateway.simulator.pool.work import Gpu


def resized(gpus: Sequence[Gpu], count: int) -> tuple[Gpu, ...]:
    """A pool of `count` GPUs (> 0): the first of the pool, then copies of them in order under new names."""
    return tuple(
        gpus[i] if i < len(gpus) else replace(gpus[i % len(gpus)], name=f"{gpus[i % len(gpus)].name}+{i // len(gpus)}")
        for i in range(count)
    )


def sizes(text: str) -> tuple[int, ...]:
    """ "4..12" is 4 to 12, "4,8" is those two, "6" is that one. Raises ValueError with what is wrong."""
    first, dots, last = text.partition("..")
    try:
        found = tuple(range(int(first), int(last) + 1)) if dots else tuple(int(part) for part in text.split(","))
    except ValueError:
        raise ValueError(f'"{text}" is not a number of GPUs; write 8, 4,8 or 4..12') from None
    if not found or min(found) < 1:
        raise ValueError(f'"{text}" names no pool; write 8, 4,8 or 4..12, each at least 1')
    return found
