"""One attempt on one backend: send, wait, and find out whether the answer is what was asked.

The slot is this job's until its POST has returned. A caller who leaves while the backend works has it interrupted,
again
every second (SD.Next ignores an interrupt while it loads a model, observed), and the slot is kept until it has stopped.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from gateway.domain.backends import Backend, BackendState
from gateway.domain.errors import AttemptFailed, BackendBroke, BackendTimedOut, BackendUnreachable, StoreUnavailable
from gateway.domain.parameters import Shaped
from gateway.domain.rendering import render
from gateway.domain.replies import Verdict, verify
from gateway.flow.ids import new_id
from gateway.flow.snapshot import CurrentCatalogue
from gateway.ports import BackendClient, Granted, PoolNews, PoolStore, RawReply

INTERRUPT_EVERY_S = 1.0
INTERRUPT_TIMEOUT_S = 5.0
LEAST_RUN_LIMIT_S = 120.0
ASSUMED_SWAP_S = 30.0
ASSUMED_S_PER_MEGAPIXEL_STEP = 0.5
ASSUMED_S_PER_UPSCALED_MEGAPIXEL = 2.0


class Abandoned(AttemptFailed):
    """The attempt was given up while the backend may still be at work: its slot is not free."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """What one attempt gave, with the seconds it took and what is loaded there now ("" if that is uncertain)."""

    verdict: Verdict
    backend: str
    took_s: float
    loaded: str
    had_to_load: bool


class Forwarder:
    """Sends jobs to backends. `backends` gives each backend by name."""

    def __init__(
        self,
        client: BackendClient,
        pool: PoolStore,
        backends: Callable[[], Mapping[str, Backend]],
        current: CurrentCatalogue,
    ) -> None:
        self._client = client
        self._pool = pool
        self._backends = backends
        self._current = current

    async def forward(self, shaped: Shaped, granted: Granted) -> Attempt:
        """The verified answer. Raises AttemptFailed when there is none; Abandoned while the backend may be at work."""
        backend = self._backends().get(granted.backend)
        inventory = self._current.inventories.get(granted.backend)
        if backend is None or inventory is None:
            raise AttemptFailed("The backend was removed meanwhile.")
        body = render(shaped, inventory)
        clock = asyncio.get_running_loop().time
        began = clock()
        reply = await self._send(backend, shaped, body)
        verdict = verify(shaped, inventory, reply.status, reply.body)
        wanted = shaped.model.name if shaped.model else ""
        return Attempt(
            verdict=verdict,
            backend=granted.backend,
            took_s=clock() - began,
            loaded=wanted if verdict.is_good else "",
            had_to_load=bool(wanted) and granted.loaded_before != wanted,
        )

    async def _send(self, backend: Backend, shaped: Shaped, body: bytes) -> RawReply:
        try:
            async with asyncio.TaskGroup() as group:
                post = group.create_task(
                    self._client.generate(backend, shaped.operation, body, run_limit_s(shaped)), name="post"
                )
                try:
                    return await asyncio.shield(post)
                except asyncio.CancelledError:
                    await self._interrupt_until_done(backend, post)
                    raise
        except* BackendTimedOut as failed:
            raise Abandoned(str(failed.exceptions[0])) from None
        except* (BackendUnreachable, BackendBroke) as failed:
            await self._report_down(backend)
            raise failed.exceptions[0] from None

    async def _interrupt_until_done(self, backend: Backend, post: asyncio.Task[RawReply]) -> None:
        """Only while our own POST is open there does that backend certainly run this job."""
        while not post.done():
            try:
                await self._client.post(backend, "/sdapi/v1/interrupt", b"", INTERRUPT_TIMEOUT_S)
            except AttemptFailed:
                pass  # it cannot be told; its POST ends or times out all the same
            await asyncio.wait([post], timeout=INTERRUPT_EVERY_S)

    async def _report_down(self, backend: Backend) -> None:
        """Nobody is sent there until the watcher has seen it well again."""
        try:
            await self._pool.publish(new_id(), PoolNews(states={backend.name: BackendState.DOWN}))
        except StoreUnavailable:
            return  # the watcher finds out by itself


def run_limit_s(shaped: Shaped) -> float:
    """Seconds after which an attempt is given up: four times the estimate and two swaps, at least two minutes."""
    estimate = (
        shaped.price.megapixel_steps * ASSUMED_S_PER_MEGAPIXEL_STEP
        if shaped.model
        else shaped.price.output_megapixels * ASSUMED_S_PER_UPSCALED_MEGAPIXEL
    )
    return max(LEAST_RUN_LIMIT_S, 4 * estimate + 2 * ASSUMED_SWAP_S)
