"""The seven public traces, and what an independent simulator says of the baselines on them."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

from gateway.simulator.pool.files import pool_of, trace_of
from gateway.simulator.pool.generate import Recipe, make
from gateway.simulator.pool.work import Gpu, Job

PUBLIC = {
    "steady": Recipe(backends=8, models=30, jobs=4000, load=0.7, seed=7),
    "small": Recipe(backends=4, models=8, jobs=4000, load=0.7, seed=11),
    "large": Recipe(backends=16, models=60, jobs=6000, load=0.8, seed=13),
    "bursty": Recipe(backends=8, models=30, jobs=4000, load=0.5, burst=True, seed=17),
    "flooded": Recipe(backends=8, models=12, jobs=4000, load=0.6, flood=True, seed=19),
    "mixed": Recipe(backends=6, models=20, jobs=4000, load=0.7, slowness=(1.0, 1.0, 3.0), partial=0.5, seed=23),
    "overload": Recipe(backends=8, models=30, jobs=4000, load=1.1, seed=29),
}

REFERENCE: dict[str, dict[str, tuple[float, float, int | None]]] = {
    # trace: policy: mean and 99th percentile of latency in seconds, swaps (None: costs nothing, not counted)
    "steady": {
        "round-robin": (2192, 4382, 3602),
        "least-connections": (2181, 4407, 3584),
        "fifo": (2167, 4309, 3578),
        "affinity": (93.2, 229.2, 770),
        "free-swaps": (7.2, 36.2, None),
    },
    "small": {
        "round-robin": (3246, 6428, 3166),
        "least-connections": (3317, 6555, 3206),
        "fifo": (3262, 6399, 3166),
        "affinity": (46.7, 126.6, 1033),
        "free-swaps": (7.6, 33.1, None),
    },
    "large": {
        "round-robin": (1786, 3632, 5511),
        "least-connections": (1773, 3574, 5508),
        "fifo": (1787, 3531, 5528),
        "affinity": (102.8, 250.0, 979),
        "free-swaps": (6.8, 36.8, None),
    },
    "bursty": {
        "round-robin": (2568, 5039, 3608),
        "least-connections": (2533, 4939, 3579),
        "fifo": (2533, 4889, 3584),
        "affinity": (169.1, 436.4, 425),
        "free-swaps": (33.2, 90.3, None),
    },
    "flooded": {
        "round-robin": (2297, 4295, 3325),
        "least-connections": (2297, 4453, 3357),
        "fifo": (2303, 4290, 3355),
        "affinity": (95.2, 277.5, 506),
        "free-swaps": (25.4, 80.5, None),
    },
    "mixed": {
        "round-robin": (3583, 14671, 3177),
        "least-connections": (2095, 5869, 2741),
        "fifo": (1985, 3912, 2740),
        "affinity": (75.5, 256.9, 945),
        "free-swaps": (14.5, 65.3, None),
    },
    "overload": {
        "round-robin": (2864, 5729, 3576),
        "least-connections": (2862, 5706, 3579),
        "fifo": (2867, 5642, 3575),
        "affinity": (384.0, 1395.2, 221),
        "free-swaps": (180.8, 345.2, None),
    },
}


@cache
def public(name: str, seed: int | None = None) -> tuple[tuple[Gpu, ...], tuple[Job, ...]]:
    """The pool and the jobs of a public trace, or of one of its kind with other dice."""
    recipe = PUBLIC[name] if seed is None else replace(PUBLIC[name], seed=seed)
    pool, lines = make(recipe)
    return pool_of(pool), trace_of(lines).jobs


def a_gpu(name: str = "g0", models: str = "A B C", speed: float = 0.25, swap_s: float = 12.0) -> Gpu:
    """A GPU on which 20 megapixel-steps take 5 s."""
    return Gpu(name, speed, swap_s, frozenset(models.split()))


def jobs_at(*arrivals: tuple[float, str], tenant: str = "t", work: float = 20.0) -> tuple[Job, ...]:
    """(second, model) of each job, numbered."""
    return tuple(Job(str(n), at, tenant, model, work) for n, (at, model) in enumerate(arrivals))
