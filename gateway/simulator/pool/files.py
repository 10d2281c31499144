"""Reads pools, traces and ledger exports.

A pool is one JSON object: `{"backends": [{"name", "seconds_per_megapixel_step", "swap_s", "models": [...]}]}`.
A trace is JSON lines, or CSV with a header line. Each job has:

- its arrival: `t` (seconds from the start) or, in a ledger export, `entered_at` (ISO 8601, read as UTC without a zone;
  or a number of seconds since the epoch); the earliest arrival of an export becomes second 0;
- `tenant` and `model`; `steps`, `width`, `height` (pixels) and `images` (empty: 1);
- `id`, if any; the line's number otherwise.

Other columns are ignored. A line without a model (an upscale, a job that never got so far) has nothing to place and is
counted as skipped.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gateway.simulator.pool.work import Gpu, Job


class UnusableFile(ValueError):
    """A pool or trace that cannot be read; the sentence names the file, the line and what is missing."""


@dataclass(frozen=True, slots=True)
class Trace:
    """Jobs in the order of their arrival, the first at second 0 of an export; `skipped` lines had no model."""

    jobs: tuple[Job, ...]
    skipped: int = 0


def read_pool(path: Path) -> tuple[Gpu, ...]:
    """The GPUs of a pool file, in its order. Raises UnusableFile."""
    try:
        return pool_of(json.loads(path.read_text("utf-8")))
    except (OSError, ValueError) as error:
        raise UnusableFile(f"{path}: not a pool file: {error}") from error


def pool_of(data: Mapping[str, Any]) -> tuple[Gpu, ...]:
    """The GPUs of a pool file's object. Raises UnusableFile when something is missing or out of range."""
    try:
        gpus = tuple(
            Gpu(str(b["name"]), float(b["seconds_per_megapixel_step"]), float(b["swap_s"]), frozenset(b["models"]))
            for b in data["backends"]
        )
    except (KeyError, TypeError) as error:
        raise UnusableFile(
            f"a backend lacks {error}; each needs name, seconds_per_megapixel_step, swap_s, models"
        ) from None
    if not gpus or any(g.seconds_per_megapixel_step <= 0 or g.swap_s < 0 for g in gpus):
        raise UnusableFile("at least one backend is needed, each with a speed above 0 and a swap time of 0 or more")
    if len({g.name for g in gpus}) < len(gpus):
        raise UnusableFile("two backends have the same name")
    return gpus


def read_trace(path: Path) -> Trace:
    """The jobs of a trace or of a ledger export (`.csv`, else JSON lines). Raises UnusableFile."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows: Iterable[Mapping[str, Any]]
            rows = csv.DictReader(file) if path.suffix == ".csv" else (json.loads(li) for li in file if li.strip())
            return trace_of(rows)
    except (OSError, ValueError) as error:
        raise UnusableFile(f"{path}: {error}") from error


def trace_of(rows: Iterable[Mapping[str, Any]]) -> Trace:
    """The jobs of rows as a trace or an export has them. Raises UnusableFile with the number of the first bad row."""
    jobs: list[Job] = []
    skipped = 0
    is_export = False
    for number, row in enumerate(rows):
        if not row.get("model"):
            skipped += 1
            continue
        try:
            jobs.append(_job(row, number))
        except (KeyError, TypeError, ValueError) as error:
            raise UnusableFile(f"job {number + 1}: {type(error).__name__} {error}") from error
        is_export = is_export or "t" not in row
    jobs.sort(key=lambda job: job.arrived_at)
    if is_export and jobs:
        jobs = _from_second_zero(jobs)
    return Trace(tuple(jobs), skipped)


def _job(row: Mapping[str, Any], number: int) -> Job:
    images = int(row.get("images") or 1)
    work = int(row["steps"]) * int(row["width"]) * int(row["height"]) / 1e6 * images
    arrived_at = float(row["t"]) if "t" in row else _seconds(row["entered_at"])
    return Job(str(row.get("id", number)), arrived_at, str(row["tenant"]), str(row["model"]), work)


def _seconds(value: Any) -> float:  # noqa: ANN401 - a CSV cell or a JSON value
    try:
        return float(value)
    except ValueError:
        moment = datetime.fromisoformat(str(value))
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _from_second_zero(jobs: list[Job]) -> list[Job]:
    first = jobs[0].arrived_at
    return [Job(j.job_id, j.arrived_at - first, j.tenant, j.model, j.work) for j in jobs]
