"""The policies by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from gateway.simulator.pool import baselines, peers
from gateway.simulator.pool.engine import Policy
from gateway.simulator.pool.production import Gateway
from gateway.simulator.pool.work import Gpu, Tenant

BASELINES: tuple[Callable[[Sequence[Gpu]], Policy], ...] = (
    baselines.RoundRobin,
    baselines.LeastConnections,
    baselines.Fifo,
    baselines.Affinity,
    peers.SwarmUI,
    peers.LlamaSwap,
    baselines.FreeSwaps,
)

NAMES = (
    "gateway", "round-robin", "least-connections", "fifo", "affinity", "swarmui", "llama-swap", "free-swaps",
)  # fmt: skip


def named(name: str, gpus: Sequence[Gpu], tenants: Mapping[str, Tenant] | None = None) -> Policy:
    """A fresh policy for one run. Raises KeyError with the known names."""
    if name == "gateway":
        return Gateway(gpus, tenants)
    for make in BASELINES:
        policy = make(gpus)
        if policy.name == name:
            return policy
    raise KeyError(f'no policy "{name}"; there are: {", ".join(NAMES)}')
