"""Makes a pool and a trace by dice: Zipf-popular checkpoints, exponential arrivals, bursts, a flooding tenant.

The same arguments give the same files on every machine: the order of the draws is part of the format, and traces made
by other tools with this algorithm are equal line by line.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

SECONDS_PER_MEGAPIXEL_STEP = 0.25
"""A GPU of relative slowness 1: a 25-step 1024x1024 image in about 6.5 s."""

_SIZES = ((512, 512), (768, 768), (1024, 1024), (832, 1216), (1536, 1024))
_SIZE_WEIGHTS = (4, 2, 4, 2, 1)
_IMAGES = (1, 2, 4)
_IMAGE_WEIGHTS = (0.8, 0.13, 0.07)
_PROBES = 4000
_BURST_WINDOW_S = 120
_BURST_FACTOR = 3.0
_FLOOD_CHANCE = 0.01
_FLOOD_BLOCK = 50


@dataclass(frozen=True, slots=True)
class Recipe:
    """The arguments of a trace. `load`: the share of the pool that the jobs alone would take if swaps were free.

    `slowness`: relative slowness of the GPUs, repeated over the pool. `partial`: the share of the models each GPU has.
    `burst`: every third two-minute window carries three times the arrivals. `flood`: tenant t0 sends about half of all
    jobs, in blocks of 50.
    """

    backends: int = 8
    models: int = 30
    tenants: int = 20
    jobs: int = 6000
    load: float = 0.7
    swap_s: float = 12.0
    seed: int = 7
    zipf: float = 1.0
    burst: bool = False
    flood: bool = False
    slowness: tuple[float, ...] = (1.0,)
    partial: float = 1.0


def make(recipe: Recipe) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The pool file's object and the trace's lines, in the form `files` reads."""
    dice = random.Random(recipe.seed)  # noqa: S311 - a repeatable trace, nothing secret
    models = [f"model-{i:03d}" for i in range(recipe.models)]
    pool = _pool(recipe, models, dice)
    return {"backends": pool}, list(_jobs(recipe, models, pool, dice))


def pool_text(pool: dict[str, Any]) -> str:
    """The pool file's text."""
    return json.dumps(pool, indent=1)


def trace_text(lines: list[dict[str, Any]]) -> str:
    """The trace file's text, one job a line."""
    return "".join(json.dumps(line) + "\n" for line in lines)


def _pool(recipe: Recipe, models: list[str], dice: random.Random) -> list[dict[str, Any]]:
    pool: list[dict[str, Any]] = []
    share = max(1, round(recipe.partial * len(models)))
    for i in range(recipe.backends):
        slow = recipe.slowness[i % len(recipe.slowness)]
        pool.append(
            {
                "name": f"gpu-{i}",
                "seconds_per_megapixel_step": SECONDS_PER_MEGAPIXEL_STEP * slow,
                "swap_s": recipe.swap_s,
                "models": list(models) if recipe.partial >= 1 else sorted(dice.sample(models, share)),
            }
        )
    held = {model for backend in pool for model in backend["models"]}
    for model in models:
        if model not in held:
            dice.choice(pool)["models"].append(model)
    return pool


def _work(dice: random.Random) -> dict[str, int]:
    width, height = dice.choices(_SIZES, _SIZE_WEIGHTS)[0]
    steps = min(80, max(4, round(dice.lognormvariate(math.log(22), 0.45))))
    images = dice.choices(_IMAGES, _IMAGE_WEIGHTS)[0]
    return {"steps": steps, "width": width, "height": height, "images": images}


def _jobs(
    recipe: Recipe, models: list[str], pool: list[dict[str, Any]], dice: random.Random
) -> Iterator[dict[str, Any]]:
    popularity = [1 / (i + 1) ** recipe.zipf for i in range(len(models))]
    probes = [_work(dice) for _ in range(_PROBES)]
    mean_work = sum(w["steps"] * w["width"] * w["height"] / 1e6 * w["images"] for w in probes) / len(probes)
    rate = recipe.load * sum(1 / b["seconds_per_megapixel_step"] for b in pool) / mean_work
    now, left_in_block = 0.0, 0
    for number in range(recipe.jobs):
        boost = _BURST_FACTOR if recipe.burst and int(now / _BURST_WINDOW_S) % 3 == 0 else 1.0
        if left_in_block > 0:
            left_in_block -= 1
            tenant = "t0"
        else:
            now += dice.expovariate(rate * boost)
            tenant = f"t{dice.randrange(recipe.tenants)}"
            if recipe.flood and dice.random() < _FLOOD_CHANCE:
                tenant, left_in_block = "t0", _FLOOD_BLOCK - 1
        model = dice.choices(models, popularity)[0]
        yield {"t": round(now, 3), "id": number, "tenant": tenant, "model": model, **_work(dice)}
