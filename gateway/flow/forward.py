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
from gateway.domain.catalogue import BackendInventory
from gateway.domain.errors import AttemptFailed, BackendBroke, BackendTimedOut, BackendUnreachable, StoreUnavailable
from gateway.domain.parameters import Shaped
from gateway.domain.rendering import render
from gateway.domain.replies import AttemptFailed as FailedAttempt
from gateway.domain.replies import CallersFault, Delivered, SetAside, is_loaded, repair, verify
from gateway.flow.byte_budget import BYTES_PER_PIXEL, ByteBudget
from gateway.flow.ids import new_id
from gateway.flow.snapshot import CurrentCatalogue
from gateway.ports import BackendClient, Granted, PoolNews, PoolStore, RawReply

INTERRUPT_EVERY_S = 1.0
INTERRUPT_TIMEOUT_S = 5.0
CHECKPOINT_TIMEOUT_S = 10.0
LEAST_RUN_LIMIT_S = 120.0
ASSUMED_SWAP_S = 30.0
ASSUMED_S_PER_MEGAPIXEL_STEP = 0.5
ASSUMED_S_PER_UPSCALED_MEGAPIXEL = 2.0


class Abandoned(AttemptFailed):
    """The attempt was given up while the backend may still be at work: its slot is not free."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """A good answer: the JSON for the caller, how many images are in it, and the seconds it took."""

    body: bytes
    images: int
    adjustments: tuple[str, ...]
    backend: str
    took_s: float
    had_to_load: bool


class Forwarder:
    """Sends jobs to backends. `backends` gives each backend by name."""

    def __init__(
        self,
        client: BackendClient,
        pool: PoolStore,
        backends: Callable[[], Mapping[str, Backend]],
        current: CurrentCatalogue,
        byte_budget: ByteBudget | None = None,
    ) -> None:
        self._client = client
        self._pool = pool
        self._backends = backends
        self._current = current
        self._byte_budget = byte_budget or ByteBudget()

    async def forward(self, shaped: Shaped, granted: Granted) -> Attempt:
        """The verified answer. Raises AttemptFailed when there is none; Abandoned while the backend may be at work."""
        backend = self._backends().get(granted.backend)
        inventory = self._current.inventories.get(granted.backend)
        if backend is None or inventory is None:
            raise AttemptFailed("The backend was removed meanwhile.")
        wanted = shaped.model.name if shaped.model else ""
        had_to_load = bool(wanted) and granted.loaded_before != wanted
        clock = asyncio.get_running_loop().time
        began = clock()
        with self._byte_budget.expecting(answer_bytes(shaped)):
            reply = await self._send(backend, shaped, render(shaped, inventory))
        took_s = clock() - began
        delivered = await self._verified(shaped, backend, inventory, reply, had_to_load=had_to_load)
        return Attempt(
            body=repair(shaped, delivered),
            images=len(delivered.images),
            adjustments=delivered.adjustments,
            backend=backend.name,
            took_s=took_s,
            had_to_load=had_to_load,
        )

    async def _verified(
        self, shaped: Shaped, backend: Backend, inventory: BackendInventory, reply: RawReply, *, had_to_load: bool
    ) -> Delivered:
        """The pictures. Raises AttemptFailed, or the caller's own error where the request was at fault."""
        if reply.content_encoding not in ("", "identity"):
            raise AttemptFailed(f"its answer was compressed ({reply.content_encoding}) though that was not asked for")
        verdict = verify(shaped, inventory, reply.status, reply.body)
        match verdict:
            case CallersFault(error=error):
                raise error
            case SetAside(reason=reason):
                await self._report(backend, BackendState.SET_ASIDE)
                raise AttemptFailed(reason)
            case FailedAttempt(said=said):
                raise AttemptFailed(said)
        # An infotext says the base name only; after a load, or where two checkpoints share it, the backend itself
        # decides.
        if shaped.model is not None and (had_to_load or not verdict.model_is_certain):
            checkpoint = await self._client.get(backend, "/sdapi/v1/checkpoint", CHECKPOINT_TIMEOUT_S)
            if not is_loaded(shaped, inventory, checkpoint.body):
                raise AttemptFailed("another model than the one asked for is loaded")
        return verdict

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
            await self._report(backend, BackendState.DOWN)
            raise failed.exceptions[0] from None

    async def _interrupt_until_done(self, backend: Backend, post: asyncio.Task[RawReply]) -> None:
        """Only while our own POST is open there does that backend certainly run this job."""
        while not post.done():
            try:
                await self._client.post(backend, "/sdapi/v1/interrupt", b"", INTERRUPT_TIMEOUT_S)
            except AttemptFailed:
                pass  # it cannot be told; its POST ends or times out all the same
            await asyncio.wait([post], timeout=INTERRUPT_EVERY_S)

    async def _report(self, backend: Backend, state: BackendState) -> None:
        """Nobody is sent there until the watcher has seen it well again."""
        try:
            await self._pool.publish(new_id(), PoolNews(states={backend.name: state}))
        except StoreUnavailable:
            return  # the watcher finds out by itself


def answer_bytes(shaped: Shaped) -> int:
    """What an answer can hardly be larger than: its pictures as base64."""
    width, height = shaped.expected or (0, 0)
    return shaped.images_asked * width * height * BYTES_PER_PIXEL


def run_limit_s(shaped: Shaped) -> float:
    """Seconds after which an attempt is given up: four times the estimate and two swaps, at least two minutes."""
    estimate = (
        shaped.price.megapixel_steps * ASSUMED_S_PER_MEGAPIXEL_STEP
        if shaped.model
        else shaped.price.output_megapixels * ASSUMED_S_PER_UPSCALED_MEGAPIXEL
    )
    return max(LEAST_RUN_LIMIT_S, 4 * estimate + 2 * ASSUMED_SWAP_S)
