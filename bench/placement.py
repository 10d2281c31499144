"""Measures placement and prints the tables of docs/benchmarks.md: `python -m bench.placement [--quick]`.

Everything but the cost of a decision is virtual time, so it repeats exactly. Traces are made by dice, here and now.
"""

from __future__ import annotations

import argparse
import math
import random
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, pairwise

from gateway.domain.scheduling import BackendView, Policy, Running, Scheduler, Ticket, estimates, forecasting
from gateway.launcher.worker import collect_seldom
from gateway.simulator.pool import engine
from gateway.simulator.pool.engine import simulate
from gateway.simulator.pool.files import pool_of, trace_of
from gateway.simulator.pool.generate import Recipe, make
from gateway.simulator.pool.policies import named
from gateway.simulator.pool.production import Gateway
from gateway.simulator.pool.report import spread, summarise
from gateway.simulator.pool.work import Gpu, Job, Tenant

PUBLIC = {
    "steady": Recipe(backends=8, models=30, jobs=4000, load=0.7, seed=7),
    "small": Recipe(backends=4, models=8, jobs=4000, load=0.7, seed=11),
    "large": Recipe(backends=16, models=60, jobs=6000, load=0.8, seed=13),
    "bursty": Recipe(backends=8, models=30, jobs=4000, load=0.5, burst=True, seed=17),
    "flooded": Recipe(backends=8, models=12, jobs=4000, load=0.6, flood=True, seed=19),
    "mixed": Recipe(backends=6, models=20, jobs=4000, load=0.7, slowness=(1.0, 1.0, 3.0), partial=0.5, seed=23),
    "overload": Recipe(backends=8, models=30, jobs=4000, load=1.1, seed=29),
}
SHAPES = {
    "zipf 0": Recipe(jobs=4000, zipf=0.0, seed=41),
    "zipf 0.5": Recipe(jobs=4000, zipf=0.5, seed=42),
    "zipf 1.5": Recipe(jobs=4000, zipf=1.5, seed=43),
    "3 tenants": Recipe(jobs=4000, tenants=3, seed=44),
    "200 tenants": Recipe(jobs=4000, tenants=200, seed=45),
    "swap 3 s": Recipe(jobs=4000, swap_s=3.0, seed=46),
    "swap 30 s": Recipe(jobs=4000, swap_s=30.0, load=0.5, seed=47),
    "load 0.4": Recipe(jobs=4000, load=0.4, seed=48),
    "load 0.9": Recipe(jobs=4000, load=0.9, seed=49),
    "1 GPU": Recipe(backends=1, models=5, jobs=2000, load=0.6, seed=50),
    "40 GPUs": Recipe(backends=40, models=100, jobs=8000, load=0.75, seed=51),
}
LARGEST = 10**6
TRIED: dict[str, dict[str, float]] = {
    "as shipped": {},
    "no fairness at all": {"slack_s": LARGEST, "backlog_weight": 0.0, "tight_jobs": LARGEST, "behind_swaps": LARGEST},
    "fairness by accounts only": {"backlog_weight": 0.0},
    "flooding counts in full": {"backlog_weight": 1.0},
    "floods are like everybody": {"flood_times": LARGEST},
    "short jobs of a flood first": {"flood_ageing_s": 300.0},
    "slack 20 s": {"slack_s": 20.0},
    "slack 40 s": {"slack_s": 40.0},
    "slack 150 s": {"slack_s": 150.0, "debt_s": 250.0},
    "debts up to 600 s": {"debt_s": 600.0},
    "nearly oldest first (ageing 0.1 s)": {"ageing_s": 0.1},
    "nearly shortest first (ageing 10,000 s)": {"ageing_s": 10_000.0},
    "a copy for every swap of backlog": {"copy_backlog_swaps": 1.0},
    "a copy at 10 swaps of backlog": {"copy_backlog_swaps": 10.0},
    "evict without residence": {"residence_swaps": 0.0},
    "never evict work": {"outweigh": float(LARGEST)},
    "no regret for the evicted": {"regret_swaps": 0.0},
    "regret x 5": {"regret_swaps": 250.0},
    "no head start": {"head_start_s": 0.0},
    "calm made slower": {"regret_swaps": 100.0, "head_start_s": 10.0, "backlog_weight": 0.7},
}


def world(recipe: Recipe) -> tuple[tuple[Gpu, ...], tuple[Job, ...]]:
    pool, lines = make(recipe)
    return pool_of(pool), trace_of(lines).jobs


def chosen(policy: str | Policy, gpus: Sequence[Gpu], tenants: Mapping[str, Tenant] | None = None) -> engine.Policy:
    """The policy of that name, or the gateway's with these numbers."""
    return Gateway(gpus, tenants, policy) if isinstance(policy, Policy) else named(policy, gpus, tenants)


def run(gpus: Sequence[Gpu], jobs: Sequence[Job], policy: str | Policy = "gateway") -> dict:
    return summarise(simulate(gpus, jobs, chosen(policy, gpus)))


def ratios(gpus: Sequence[Gpu], jobs: Sequence[Job], policy: str | Policy, base: Mapping) -> tuple[float, float, float]:
    ours = run(gpus, jobs, policy)
    return (
        ours["latency_s"]["mean"] / base["latency_s"]["mean"],
        ours["latency_s"]["p99"] / base["latency_s"]["p99"],
        ours["swaps"] / base["swaps"],
    )


def geometric(values: Sequence[float]) -> float:
    return math.exp(statistics.mean(math.log(value) for value in values))


def policies_table() -> None:
    names = ("round-robin", "least-connections", "fifo", "affinity", "swarmui", "llama-swap", "gateway", "free-swaps")
    print("\n### Mean / 99th percentile of latency in seconds, swaps\n")
    print("| trace | " + " | ".join(names) + " |\n|---|" + "---|" * len(names))
    for trace, recipe in PUBLIC.items():
        gpus, jobs = world(recipe)
        cells = []
        for name in names:
            found = run(gpus, jobs, name)
            swaps = "" if name == "free-swaps" else f", {found['swaps']}"
            cells.append(f"{found['latency_s']['mean']:.1f} / {found['latency_s']['p99']:.1f}{swaps}")
        print(f"| {trace} | " + " | ".join(cells) + " |", flush=True)


def against_affinity(title: str, recipes: Mapping[str, Recipe], seeds: Sequence[int | None]) -> None:
    print(f"\n### {title}: `gateway` / `affinity`\n")
    print("| trace | mean latency | 99th percentile | swaps |\n|---|---|---|---|")
    every: list[float] = []
    for trace, recipe in recipes.items():
        found = []
        for seed in seeds:
            gpus, jobs = world(recipe if seed is None else replace(recipe, seed=seed))
            found.append(ratios(gpus, jobs, "gateway", run(gpus, jobs, "affinity")))
        every += [mean for mean, _, _ in found]
        columns = [", ".join(f"{one[k]:.2f}" for one in found) for k in range(3)]
        print(f"| {trace} | " + " | ".join(columns) + " |", flush=True)
    print(f"| geometric mean | {geometric(every):.3f} | | |")


@dataclass(frozen=True, slots=True)
class Flood:
    """What a flood of t0 does: mean latency of the others, with it, without its blocks and without t0 at all; t0's own
    mean; everyone's 99th percentile. Seconds.
    """

    others_s: float
    without_blocks_s: float
    without_t0_s: float
    flood_s: float
    p99_s: float

    def __str__(self) -> str:
        ratio, strict = self.others_s / self.without_blocks_s, self.others_s / self.without_t0_s
        return f"{self.others_s:.1f}; {strict:.2f} ({ratio:.2f}); {self.flood_s:.0f}; {self.p99_s:.0f}"


def under_flood(policy: str | Policy, seed: int, tenants: Mapping[str, Tenant] | None = None) -> Flood:
    gpus, jobs = world(replace(PUBLIC["flooded"], seed=seed))
    blocks = {job.job_id for pair in pairwise(jobs) for job in pair if is_a_block(*pair)}

    def play(trace: Sequence[Job]) -> tuple[list[float], list[float]]:
        done = simulate(gpus, trace, chosen(policy, gpus, tenants)).done
        return [d.latency_s for d in done if d.job.tenant != "t0"], [d.latency_s for d in done if d.job.tenant == "t0"]

    others, flood = play(jobs)
    return Flood(
        others_s=statistics.mean(others),
        without_blocks_s=statistics.mean(play([job for job in jobs if job.job_id not in blocks])[0]),
        without_t0_s=statistics.mean(play([job for job in jobs if job.tenant != "t0"])[0]),
        flood_s=statistics.mean(flood),
        p99_s=spread(others + flood)["p99"],
    )


def is_a_block(job: Job, following: Job) -> bool:
    """Whether both came in one block: no two of them have the same moment otherwise."""
    return job.arrived_at == following.arrived_at and job.tenant == following.tenant == "t0"


def flood_table(seeds: Sequence[int]) -> None:
    print(
        "\n### A flood: others' mean latency (s); its multiple of what it is without the flooding tenant (without its "
        "blocks only); the flooding tenant's mean (s); everyone's p99 (s)\n"
    )
    print("| policy | " + " | ".join(f"seed {seed}" for seed in seeds) + " |\n|---|" + "---|" * len(seeds))
    rows: dict[str, tuple[str | Policy, dict[str, Tenant]]] = {"affinity": ("affinity", {}), "fifo": ("fifo", {})}
    rows |= {f"gateway, backlog_weight {w}": (Policy(backlog_weight=w), {}) for w in (0.0, 0.2, 0.4, 0.7, 1.0)}
    rows["gateway, calm made slower"] = (replace(Policy(), **TRIED["calm made slower"]), {})
    rows["gateway, the flooding tenant runs 2 at once"] = (Policy(), {"t0": Tenant(cap=2)})
    for name, (policy, tenants) in rows.items():
        print(f"| {name} | " + " | ".join(str(under_flood(policy, seed, tenants)) for seed in seeds) + " |", flush=True)


def tried_table(traces: Sequence[str]) -> None:
    print("\n### What was tried: mean / p99 / swaps against affinity\n")
    print("| change | geometric mean of means | " + " | ".join(traces) + " |\n|---|---|" + "---|" * len(traces))
    worlds = {trace: world(PUBLIC[trace]) for trace in traces}
    bases = {trace: run(*worlds[trace], "affinity") for trace in traces}
    for name, change in TRIED.items():
        found = [ratios(*worlds[trace], replace(Policy(), **change), bases[trace]) for trace in traces]
        cells = " | ".join("{:.2f} / {:.2f} / {:.2f}".format(*one) for one in found)
        print(f"| {name} | {geometric([one[0] for one in found]):.3f} | {cells} |", flush=True)


def shares() -> None:
    print("\n### Two tenants that never stop: GPU-seconds over the first 200 jobs, x : y\n")
    print(
        "| GPUs | models | weights 3:1 | equal: most apart, s (bound) | swaps of all 600 jobs |\n|---|---|---|---|---|"
    )
    for count in (1, 2, 4, 8):
        for models in ("AA", "AB"):
            gpus = [Gpu(f"g{n}", 0.25, 12.0, frozenset("AB")) for n in range(count)]
            jobs = [Job(f"{t}{n}", 0.0, t, m, 20.0) for n in range(300) for t, m in zip("xy", models, strict=True)]
            got, widest = {}, 0.0
            for weight in (3.0, 1.0):
                outcome = simulate(gpus, jobs, Gateway(gpus, {"x": Tenant(weight=weight)}))
                got = {"x": 0.0, "y": 0.0}
                for done in sorted(outcome.done, key=lambda d: d.started_at)[:200]:
                    got[done.job.tenant] += done.run_s
                    widest = max(widest, abs(got["x"] - got["y"])) if weight == 1.0 else widest
                if weight == 3.0:
                    ratio, swaps = got["x"] / got["y"], outcome.swaps
            print(f"| {count} | {models} | {ratio:.2f} | {widest:.0f} ({2 * 17 * count}) | {swaps} |")


def small_scenes() -> None:
    print("\n### Small scenes\n")
    gpus = [Gpu("g", 0.25, 12.0, frozenset("AB"))]
    jobs = [Job(str(n), 6.0 * n, "t", "AB"[n % 2], 20.0) for n in range(400)]
    ours, fifo = (simulate(gpus, jobs, named(name, gpus)) for name in ("gateway", "fifo"))
    longest = max(d.wait_s for d in ours.done)
    print(f"- One GPU, A and B alternating: {ours.swaps} swaps, FIFO {fifo.swaps}; longest wait {longest:.0f} s.")
    pair = [Gpu("fast", 0.25, 12.0, frozenset("A")), Gpu("slow", 0.75, 12.0, frozenset("A"))]
    worst = 0.0
    for seed in range(10):
        dice = random.Random(seed)
        jobs = [Job(str(n), 0.0, "t", "A", dice.lognormvariate(3.1, 0.5)) for n in range(60)]
        bound = (sum(job.work for job in jobs) + 12 / 0.25 + 12 / 0.75) / (1 / 0.25 + 1 / 0.75)
        worst = max(worst, simulate(pair, jobs, Gateway(pair)).makespan_s / bound)
    print(f"- A fast and a slow GPU, 60 jobs: makespan at most {worst:.3f} x the best possible (10 seeds).")
    eight = [Gpu(f"g{n}", 0.25, 12.0, frozenset("A")) for n in range(8)]
    done = simulate(eight, [Job(str(n), 0.0, "t", "A", 20.0) for n in range(50)], Gateway(eight))
    loads = ", ".join(f"{at:.0f}" for _, at, _, _ in done.loads)
    print(f"- 50 simultaneous first calls, 8 GPUs: loads begin at {loads} s; all done at {done.makespan_s:.0f} s.")


class Asking(Gateway):
    """Notes the estimate of every tenth job that has to wait, at its arrival."""

    def __init__(self, gpus: Sequence[Gpu]) -> None:
        super().__init__(gpus)
        self.told: dict[str, float] = {}

    def happened(self, freed, arrived, now):  # noqa: ANN001, ANN201 - as the class it extends
        effects = super().happened(freed, arrived, now)
        for job in arrived:
            if int(job.job_id) % 10 == 0 and job.job_id in self.scheduler.state.room:
                self.told[job.job_id] = estimates(self.scheduler, now)[job.job_id].wait_s
        return effects


def errors_of_estimates(recipe: Recipe) -> list[float]:
    gpus, jobs = world(recipe)
    policy = Asking(gpus)
    waits = {d.job.job_id: d.wait_s for d in simulate(gpus, jobs, policy).done}
    return sorted(abs(told - waits[job]) / max(1.0, waits[job]) for job, told in policy.told.items())


def estimate_table(traces: Sequence[str], seeds: Sequence[int | None]) -> None:
    print("\n### Estimated wait, told at arrival to every tenth job that waits: |told - true| / max(1 s, true)\n")
    print("| trace | estimates | median | 90th percentile | within 50 % |\n|---|---|---|---|---|")
    rows: list[list[list[float]]] = []
    for trace in traces:
        found = [
            errors_of_estimates(PUBLIC[trace] if seed is None else replace(PUBLIC[trace], seed=seed)) for seed in seeds
        ]
        print(f"| {trace} | {columns_of(found)} |", flush=True)
        rows.append(found)
    print(f"| all of them | {columns_of([sorted(chain(*of_a_seed)) for of_a_seed in zip(*rows, strict=True)])} |")


def columns_of(found: Sequence[Sequence[float]]) -> str:
    """The columns of one row, an entry for each of the ascending lists."""
    medians = ", ".join(f"{statistics.median(errors):.0%}" for errors in found)
    tails = ", ".join(f"{errors[int(0.9 * len(errors))]:.0%}" for errors in found)
    within = ", ".join(f"{sum(error <= 0.5 for error in errors) / len(errors):.0%}" for errors in found)
    return f"{sum(map(len, found))} | {medians} | {tails} | {within}"


def cost() -> None:
    print("\n### Cost (CPU time, collecting garbage as a worker does)\n")
    collect_seldom()
    cost_of_a_forecast(*cost_of_decisions())
    gpus, jobs = world(Recipe(jobs=100_000, seed=7))
    begun = time.process_time()
    simulate(gpus, jobs, Gateway(gpus))
    print(f"- 100,000 jobs simulated: {time.process_time() - begun:.1f} s.")


def cost_of_decisions() -> tuple[Scheduler, float]:
    """The scheduler as 3,000 ends and arrivals leave it, and the moment of the last."""
    dice = random.Random(1)
    names = [f"b{n}" for n in range(100)]
    scheduler = Scheduler()
    running = [Running(f"r{n}", f"t{dice.randrange(40)}", "m0", 0.0, 20.0) for n in names]
    scheduler.backend_changed(
        [BackendView(n, f"m{dice.randrange(60)}", True, r) for n, r in zip(names, running, strict=True)], 0.0
    )

    def a_ticket(number: int, now: float) -> Ticket:
        model, able = min(59, int(dice.paretovariate(0.6)) - 1), names if number % 3 else names[::2]
        return Ticket(
            f"j{number}", f"t{dice.randrange(40)}", f"m{model}", frozenset(able), now, dice.uniform(5.0, 60.0)
        )

    now, took = 100.0, []
    scheduler.arrived([a_ticket(n, dice.uniform(0.0, now)) for n in range(1000)], now)
    for number in range(1000, 4000):
        backend = dice.choice([n for n, view in scheduler.backends.items() if view.running is not None])
        begun = time.process_time()
        scheduler.finished(backend, 5.0, now)
        took.append((time.process_time() - begun) * 1000)
        now += 0.05
        scheduler.arrived([a_ticket(number, now)], now)
    took.sort()
    print(
        f"- One decision, {len(scheduler.waiting)} waiting, 100 backends: median {statistics.median(took):.2f} ms, "
        f"99th percentile {took[2970]:.2f} ms."
    )
    return scheduler, now


def cost_of_a_forecast(scheduler: Scheduler, now: float) -> None:
    steps, took = forecasting(scheduler, now), []
    while True:
        begun = time.process_time()
        if next(steps, LARGEST) is LARGEST:
            break
        took.append((time.process_time() - begun) * 1000)
    print(f"- One forecast of everything in that state: {sum(took) / 1000:.2f} s, no step above {max(took):.1f} ms.")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer traces, for a look while working")
    quick = parser.parse_args().quick
    against_affinity("Public traces", PUBLIC, [None])
    shares()
    small_scenes()
    cost()
    if quick:
        return
    policies_table()
    against_affinity("The same with other dice (seeds 101, 202, 303)", PUBLIC, [101, 202, 303])
    against_affinity("Dice no parameter was ever chosen by (seeds 7001, 7002)", PUBLIC, [7001, 7002])
    against_affinity("Other shapes", SHAPES, [None])
    flood_table([19, 101, 202])
    estimate_table(list(PUBLIC), [None, 101])
    tried_table(list(PUBLIC))


if __name__ == "__main__":
    main()
