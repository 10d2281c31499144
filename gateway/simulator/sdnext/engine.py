"""The one GPU: its lock, its time, the checkpoint in memory, interrupts, holds and death.

Everything that takes time goes through `Engine.work`, so that an interrupt, a skip or a test's hold finds it there.
Loading ignores interrupts, `/checkpoint`, `/unload-checkpoint` and a rescan do not take the lock: as observed.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.simulator.sdnext.checkpoints import Checkpoint, Shelf, Weights, make_checkpoint
from gateway.simulator.sdnext.failures import model_search_offline
from gateway.simulator.sdnext.job_state import JobState
from gateway.simulator.sdnext.loras import LoraFolder
from gateway.simulator.sdnext.server_options import ServerOptions

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from gateway.simulator.sdnext.clock import LoopClock
    from gateway.simulator.sdnext.facts import Facts
    from gateway.simulator.sdnext.simulation_options import SimulationOptions

_FAILED_LOAD_S = 0.9
_UNKNOWN_MODEL_S = 0.8
_HUB_LOOKUP_S = 3.4
_BOMB_S = 100.0
_LONGEST_STALL_S = 0.95
_HUB_PREFIXES = ("https://huggingface.co/", "huggingface/", "https://civitai.com/")


@dataclass(slots=True)
class Power:
    """How the process ends or stops listening; a server on a socket puts its own functions in."""

    die: Callable[[int], None] = lambda _status: None
    refuse: Callable[[float | None], None] = lambda _seconds: None


@dataclass(slots=True)
class Counters:
    """What tests and benches ask about.

    `jobs` ran since the start; `waiting_or_running` are jobs at the lock now, which a good gateway keeps at 1 at most;
    `in_flight` are requests that hold a thread.
    """

    loads: int = 0
    jobs: int = 0
    waiting_or_running: int = 0
    most_waiting_or_running: int = 0
    in_flight: int = 0
    most_in_flight: int = 0


class Engine:
    """The state of one simulated server apart from HTTP."""

    def __init__(self, options: SimulationOptions, facts: Facts, clock: LoopClock) -> None:
        self.options = options
        self.facts = facts
        self.clock = clock
        self.state = JobState(clock)
        self.server_options = ServerOptions(facts, options.state_dir)
        self.shelf = Shelf()
        self.loras = LoraFolder(list(options.loras))
        self.power = Power()
        self.counters = Counters()
        self._held: set[str] = set()
        self._changed = asyncio.Event()
        self.running: Weights | None = None
        self.is_damaged = False
        self._loading = 0
        self._lock = asyncio.Lock()
        self._stop = asyncio.Event()
        self._stalled_until = 0.0
        self._fill_disk()

    def _fill_disk(self) -> None:
        for title in self.options.models:
            self.shelf.add_file(self.checkpoint(title))
        self.shelf.relist()
        for title in self.options.new_models:
            self.shelf.add_file(self.checkpoint(title))
        self.loras.rescan()
        self.loras.files.extend(self.options.new_loras)
        if not self.server_options.was_set("sd_model_checkpoint") and self.options.models:
            self.server_options.set("sd_model_checkpoint", self.options.models[0])
        first = self.shelf.find(self.stored_model)
        if first is not None and self.shelf.is_readable(first):
            self.shelf.loaded = Weights(first)

    def checkpoint(self, title: str) -> Checkpoint:
        """A checkpoint of this title with the scheduler this simulation gives it."""
        return make_checkpoint(title, f"{self.options.schedulers.get(title, 'EulerDiscrete')}Scheduler")

    @property
    def stored_model(self) -> str:
        """The name in the option `sd_model_checkpoint`, good or bad."""
        return str(self.server_options.get("sd_model_checkpoint"))

    @asynccontextmanager
    async def lock(self) -> AsyncIterator[None]:
        """The queue lock: one job at a time, first come first served."""
        counters = self.counters
        counters.waiting_or_running += 1
        counters.most_waiting_or_running = max(counters.most_waiting_or_running, counters.waiting_or_running)
        try:
            async with self._lock:
                yield
        finally:
            counters.waiting_or_running -= 1

    async def wait_out_stall(self) -> None:
        """While a checkpoint is read, every route stalls for a while."""
        delay = self._stalled_until - self.clock.now()
        if delay > 0:
            await asyncio.sleep(delay)

    # --- time ---------------------------------------------------------------------------------------------------

    async def work(self, simulated_s: float, phase: str, *, stoppable: bool) -> bool:
        """Let time pass in `phase`; True if an interrupt or a skip cut it short. A held phase lasts until released."""
        if stoppable and await self.clock.wait(self._stop, simulated_s):
            return True
        if not stoppable:
            await self.clock.sleep(simulated_s)
        while phase in self._held:
            if stoppable and self._stop.is_set():
                return True
            self._changed.clear()
            await self._changed.wait()
        return False

    def hold(self, phase: str) -> None:
        """Whoever reaches the end of this phase (load, inference, decode, upscale, rescan) waits there."""
        self._held.add(phase)

    def release(self, phase: str) -> bool:
        """Let them go on; False if the phase was not held."""
        was_held = phase in self._held
        self._held.discard(phase)
        self._changed.set()
        return was_held

    async def hold_in_memory(self, megapixels: float) -> None:
        """Nothing looks at a picture's size before it is decoded: a huge one kills the process after a while."""
        if megapixels > self.options.fatal_megapixels:
            await self.clock.sleep(_BOMB_S)
            self.power.die(137)
            raise ConnectionAbortedError("the simulated process was killed: out of memory")

    def begin_job(self, task: str) -> None:
        """A job starts: what was interrupted before is forgotten."""
        self._stop.clear()
        self.state.begin_job(task)

    def interrupt(self) -> None:
        """Stop what runs now, whoever's it is. Lost while a checkpoint loads; remembered by `/status` when idle."""
        self.state.is_interrupted = True
        self._stop.set()
        self._changed.set()

    def skip(self) -> None:
        """Stop what runs now and throw its pictures away."""
        self.state.is_skipped = True
        self._stop.set()
        self._changed.set()

    # --- checkpoints --------------------------------------------------------------------------------------------

    async def load(self, checkpoint: Checkpoint) -> bool:
        """Read a checkpoint into memory; False, and nothing loaded, if its file is gone or broken.

        In a damaged process every load fails, whatever its file ("Cannot copy out of meta tensor", observed).
        """
        if self.options.fragile_loads and (self._loading or self.running is not None):
            self.is_damaged = True
        interrupted_stage = self.state.stage if self.running is not None else None
        self.state.begin("Load model")
        self.shelf.loaded = None
        readable = self.shelf.is_readable(checkpoint)
        self._loading += 1
        try:
            await self._read(readable=readable)
        finally:
            self._loading -= 1
        readable = readable and not self.is_damaged
        if readable:
            self.shelf.loaded = Weights(checkpoint)
            self.counters.loads += 1
        self.state.end()
        if interrupted_stage is not None:
            self.state.stage = interrupted_stage  # `/checkpoint` loads beside a running job, whose stage comes back
        return readable

    async def _read(self, *, readable: bool) -> None:
        """Take the time of a load; every route stalls for a part of it."""
        seconds = self.options.swap_seconds if readable else min(_FAILED_LOAD_S, self.options.swap_seconds)
        stall = self.clock.scaled(min(_LONGEST_STALL_S, seconds / 4))
        self._stalled_until = max(self._stalled_until, self.clock.now() + stall)
        await self.work(seconds, "load", stoppable=False)

    async def weights_for_named(self, name: str) -> Weights | None:
        """What a request that names a model at top level runs on; None: 200 without images. The name persists.

        Raises `Crashed` for a name with a slash that is not listed, also for a good one while a rescan runs.
        """
        found = self.shelf.find(name)
        if found is None:
            await self._lose_model(name)
            return None
        loaded = self.shelf.loaded
        if loaded is None or loaded.checkpoint != found:
            readable = await self.load(found)
            self.server_options.set("sd_model_checkpoint", found.title if readable else name)
        return self.shelf.loaded

    async def weights_for_unnamed(self) -> Weights | None:
        """What a request without a model runs on: what is loaded, else the stored name if it is good."""
        loaded = self.shelf.loaded
        if loaded is not None:
            if not self.shelf.is_readable(loaded.checkpoint) and loaded.checkpoint not in self.shelf.listed:
                raise model_search_offline(loaded.checkpoint.title)
            return loaded
        found = self.shelf.find(self.stored_model)
        if found is not None:
            await self.load(found)
        elif "/" in self.stored_model:
            await self.clock.sleep(_HUB_LOOKUP_S)
        return self.shelf.loaded

    async def _lose_model(self, name: str) -> None:
        prefix = next((p for p in _HUB_PREFIXES if name.startswith(p)), None)
        self.shelf.loaded = None
        if prefix is None and "/" in name:
            self.server_options.set("sd_model_checkpoint", name)
            raise model_search_offline(name)
        if prefix is not None:
            await self.clock.sleep(_HUB_LOOKUP_S)
        self.server_options.set("sd_model_checkpoint", name.removeprefix(prefix or ""))

    async def set_model_option(self, name: str) -> bool:
        """`POST /options {"sd_model_checkpoint": ...}`: waits for the lock, then loads; False if unchanged.

        An unknown name is stored all the same, unloads the model and answers True.
        """
        async with self._lock:
            found = self.shelf.find(name)
            if found is None:
                changed = self.server_options.set("sd_model_checkpoint", name)
                self.shelf.loaded = None
                await self.clock.sleep(_UNKNOWN_MODEL_S)
                return changed
            loaded = self.shelf.loaded
            changed = self.server_options.set("sd_model_checkpoint", found.title)
            if loaded is None or loaded.checkpoint != found:
                await self.load(found)
            return changed

    async def load_by_endpoint(self, name: str, *, force: bool) -> bool:
        """`POST /checkpoint`: without the lock, without storing the name; the only call that says whether it worked."""
        found = self.shelf.find(name)
        if found is None:
            self.shelf.loaded = None
            await self.clock.sleep(_UNKNOWN_MODEL_S)
            return False
        loaded = self.shelf.loaded
        if loaded is not None and loaded.checkpoint == found and not force:
            return not loaded.poisoned
        return await self.load(found)

    async def reload_by_endpoint(self, *, force: bool) -> None:
        """`POST /reload-checkpoint`: loads the stored name if nothing is loaded; does not help poisoned weights."""
        found = self.shelf.find(self.stored_model)
        if found is not None and (self.shelf.loaded is None or force):
            await self.load(found)

    def unload(self) -> None:
        """`POST /unload-checkpoint`: harmless when idle, poison for the checkpoint of a running job."""
        if self.running is not None:
            self.running.poisoned = True
        else:
            self.shelf.loaded = None

    async def rescan(self) -> None:
        """`POST /refresh-checkpoints`: for a moment the list is empty, then partial, then true."""
        self.shelf.forget_list()
        await self.work(self.options.rescan_seconds / 2, "rescan", stoppable=False)
        self.shelf.relist(len(self.shelf.files) // 2)
        await self.work(self.options.rescan_seconds / 2, "rescan-partial", stoppable=False)
        self.shelf.relist()
