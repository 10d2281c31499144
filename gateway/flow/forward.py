"""One attempt on one backend: send, wait, and find out whether the answer is what was asked.

The slot is this job's until its POST has returned. A caller who leaves while the backend works has it interrupted,
again every second (SD.Next ignores an interrupt while it loads a model, observed), and the slot is kept until it has
stopped.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field

from gateway.domain.backends import Backend, BackendState, Condition
from gateway.domain.catalogue import BackendInventory
from gateway.domain.errors import AttemptFailed, BackendTimedOut, BackendUnfit, BackendUnreachable, StoreUnavailable
from gateway.domain.masking import masked
from gateway.domain.parameters import Shaped
from gateway.domain.rendering import render
from gateway.domain.replies import (
    AnswerBody,
    CallersFault,
    Delivered,
    Flaw,
    SetAside,
    Verdict,
    is_loaded,
    most_answer_bytes,
    repair,
    verify,
)
from gateway.domain.replies import AttemptFailed as FailedAttempt
from gateway.flow.attention import Attendant, Attention
from gateway.flow.byte_budget import Held, unbudgeted
from gateway.flow.ids import new_id
from gateway.flow.snapshot import CurrentCatalogue
from gateway.flow.upkeep import PICTURE_FORMAT, read_options, wrong_in
from gateway.ports import AnswerBounds, BackendClient, Granted, PoolNews, PoolStore, RawReply
from gateway.ports.tracing import UNTRACED, Trace

INTERRUPT_EVERY_S = 1.0
INTERRUPT_TIMEOUT_S = 5.0
CHECKPOINT_TIMEOUT_S = 10.0
LEAST_RUN_LIMIT_S = 120.0
ASSUMED_SWAP_S = 30.0
ASSUMED_S_PER_MEGAPIXEL_STEP = 0.5
ASSUMED_S_PER_UPSCALED_MEGAPIXEL = 2.0
_SHOWN_CHARACTERS = 40


class Abandoned(AttemptFailed):
    """The attempt was given up while the backend may still be at work: its slot is not free."""


@dataclass(slots=True)
class Work:
    """What one job does on its backend: `is_under_way` from before its POST until the backend itself has ended it.

    `attention`: who looks at it, and whether its caller wants it to end. `trace`: who follows its call. `held`: where
    its answer is counted.
    """

    is_under_way: bool = False
    attention: Attention = field(default_factory=Attention)
    trace: Trace = UNTRACED
    held: Held = field(default_factory=unbudgeted)


@dataclass(frozen=True, slots=True)
class Attempt:
    """A good answer: the JSON for the caller, how many images are in it, and the seconds it took.

    `is_interrupted`: at the caller's wish it is fewer than asked, perhaps none.
    """

    body: AnswerBody
    images: int
    adjustments: tuple[str, ...]
    backend: str
    took_s: float
    had_to_load: bool
    is_interrupted: bool = False


class Forwarder:
    """Sends jobs to backends. `backends` gives each backend by name; the attendant is for those who wait."""

    def __init__(
        self,
        client: BackendClient,
        pool: PoolStore,
        backends: Callable[[], Mapping[str, Backend]],
        current: CurrentCatalogue,
        attendant: Attendant,
    ) -> None:
        self._attendant = attendant
        self._client = client
        self._pool = pool
        self._backends = backends
        self._current = current

    async def forward(self, shaped: Shaped, granted: Granted, work: Work) -> Attempt:
        """The verified answer. Raises AttemptFailed when there is none; Abandoned while the backend may be at work;
        NoCapacity while the tenant leaves earlier answers unread.

        However it ends, `work` tells whether the backend may still be at it.
        """
        backend = self._backends().get(granted.backend)
        inventory = self._current.inventories.get(granted.backend)
        if backend is None or inventory is None:
            raise AttemptFailed("The backend was removed meanwhile.")
        body = render(shaped, inventory)
        bounds = AnswerBounds(run_limit_s(shaped), most_answer_bytes(shaped, len(body)))
        wanted = shaped.model.name if shaped.model else ""
        had_to_load = bool(wanted) and granted.loaded_before != wanted
        clock = asyncio.get_running_loop().time
        began = clock()
        work.held.expect(bounds.most_bytes)
        try:
            reply = await self._send(backend, shaped, body, bounds, work)
            work.held.expect(len(reply.body))
            took_s = clock() - began
            if had_to_load:
                work.trace.past("load", took_s, swap_s_of(shaped, took_s), is_estimated=True)
            with work.trace.step("verify"):
                is_wish = bool(work.attention.wish)
                verdict = verify(shaped, inventory, reply.status, _plain_body(reply), interrupted_by_us=is_wish)
                delivered = await self._judged(shaped, backend, inventory, verdict, had_to_load=had_to_load)
                answer = repair(shaped, delivered)
            work.held.answered(answer.size)
        finally:
            work.held.expect(0)
        return Attempt(
            body=answer,
            images=len(delivered.images),
            adjustments=delivered.adjustments,
            backend=backend.name,
            took_s=took_s,
            had_to_load=had_to_load,
            is_interrupted=delivered.interrupted,
        )

    async def _judged(
        self, shaped: Shaped, backend: Backend, inventory: BackendInventory, verdict: Verdict, *, had_to_load: bool
    ) -> Delivered:
        """The pictures. Raises AttemptFailed, or the caller's own error where the request was at fault."""
        match verdict:
            case CallersFault(error=error):
                raise error
            case SetAside(reason=reason):
                await self._refuse_unfit(backend)
                await self._report(backend, BackendState.SET_ASIDE, reason)
                raise AttemptFailed(reason)
            case FailedAttempt(flaw=flaw, said=said, signature=signature):
                if flaw is Flaw.WRONG_FORMAT:
                    await self._refuse_unfit(backend)
                is_load_failure = flaw is Flaw.EMPTY and not await self._has_loaded(shaped, backend, inventory)
                raise AttemptFailed(said, flaw, signature, is_load_failure=is_load_failure)
        # An infotext says the base name only; after a load, or where two checkpoints share it, the backend itself
        # decides.
        is_certain = shaped.model is None or not verdict.images or (verdict.model_is_certain and not had_to_load)
        if not is_certain and not await self._has_loaded(shaped, backend, inventory):
            raise AttemptFailed("another model than the one asked for is loaded", Flaw.WRONG_MODEL, Flaw.WRONG_MODEL)
        return verdict

    async def _refuse_unfit(self, backend: Backend) -> None:
        """Raise BackendUnfit if its managed options are wrong: it was started anew since anybody looked.

        While this job holds the slot nobody of ours can be setting them.
        """
        try:
            wrong = wrong_in(await read_options(self._client, backend))
        except AttemptFailed:
            return  # what it answered before says more
        if wrong and (backend.is_managed or PICTURE_FORMAT in wrong):
            reason = f"Its answer showed that {', '.join(wrong)} are no longer right there: it was started anew."
            await self._report(backend, BackendState.PREPARING, reason)
            raise BackendUnfit("its options were not right: it was started anew a moment ago")

    async def _has_loaded(self, shaped: Shaped, backend: Backend, inventory: BackendInventory) -> bool:
        """Whether the backend itself says that the checkpoint asked for is loaded; true for jobs that need none."""
        if shaped.model is None:
            return True
        checkpoint = await self._client.get(backend, "/sdapi/v1/checkpoint", CHECKPOINT_TIMEOUT_S)
        return is_loaded(shaped, inventory, checkpoint.body)

    async def _send(self, backend: Backend, shaped: Shaped, body: bytes, bounds: AnswerBounds, work: Work) -> RawReply:
        async with asyncio.TaskGroup() as group:
            post = group.create_task(self._post(backend, shaped, body, bounds, work), name="post")
            self._attendant.attend(group, backend, work.attention, post)
            try:
                reply = await asyncio.shield(post)
            except asyncio.CancelledError:
                await self._interrupt_until_done(backend, post)
                raise
            finally:
                work.attention.attempt_ended()
        match reply:
            case BackendTimedOut():
                raise Abandoned(str(reply))
            case AttemptFailed():
                await self._report(backend, BackendState.DOWN, str(reply))
                raise reply
        return reply

    async def _post(
        self, backend: Backend, shaped: Shaped, body: bytes, bounds: AnswerBounds, work: Work
    ) -> RawReply | AttemptFailed:
        """Also a failure is an answer here, so that it can neither hide a cancellation nor be hidden by one."""
        work.is_under_way = True
        try:
            reply = await self._client.generate(backend, shaped.operation, body, bounds)
        except AttemptFailed as failed:
            work.is_under_way = not isinstance(failed, BackendUnreachable)
            return failed
        work.is_under_way = False
        return reply

    async def _interrupt_until_done(self, backend: Backend, post: asyncio.Task[RawReply | AttemptFailed]) -> None:
        """Only while our own POST is open there does that backend certainly run this job."""
        while not post.done():
            with suppress(AttemptFailed):  # it cannot be told; its POST ends or times out all the same
                await self._client.post(backend, "/sdapi/v1/interrupt", b"", INTERRUPT_TIMEOUT_S)
            await asyncio.wait([post], timeout=INTERRUPT_EVERY_S)

    async def _report(self, backend: Backend, state: BackendState, reason: str) -> None:
        """Nobody is sent there until the watcher has seen it well again."""
        news = PoolNews(states={backend.name: state}, conditions={backend.name: Condition(reason)})
        try:
            await self._pool.publish(new_id(), news)
        except StoreUnavailable:
            return  # the watcher finds out by itself


def _plain_body(reply: RawReply) -> bytes:
    if reply.content_encoding not in ("", "identity"):
        encoding = masked(reply.content_encoding, _SHOWN_CHARACTERS)
        raise AttemptFailed(f"its answer was compressed ({encoding}) though that was not asked for")
    return reply.body


def nothing_made(shaped: Shaped) -> Attempt:
    """The answer to a job that its caller ended before anything was made of it."""
    body = repair(shaped, Delivered((), {}, interrupted=True))
    return Attempt(body, 0, (), backend="", took_s=0.0, had_to_load=False, is_interrupted=True)


def swap_s_of(shaped: Shaped, took_s: float) -> float:
    """How much of an attempt that had to load its checkpoint went to loading: what is beyond the expected work."""
    return max(0.0, took_s - shaped.price.megapixel_steps * ASSUMED_S_PER_MEGAPIXEL_STEP)


def run_limit_s(shaped: Shaped) -> float:
    """Seconds after which an attempt is given up: four times the estimate and two swaps, at least two minutes."""
    estimate = (
        shaped.price.megapixel_steps * ASSUMED_S_PER_MEGAPIXEL_STEP
        if shaped.model
        else shaped.price.output_megapixels * ASSUMED_S_PER_UPSCALED_MEGAPIXEL
    )
    return max(LEAST_RUN_LIMIT_S, 4 * estimate + 2 * ASSUMED_SWAP_S)
