"""The gateway's own work on a backend: options that must have one value, rescans. Always under that backend's slot.

SD.Next lists only options that differ from their default (observed), and for all four of these the default is wrong: an
option that is absent is wrong.
"""

from __future__ import annotations

from typing import Any

import msgspec

from gateway.domain.backends import Backend
from gateway.domain.errors import AttemptFailed
from gateway.domain.jobs import Outcome
from gateway.flow.held import HeldJobs
from gateway.flow.ids import new_id
from gateway.ports import BackendClient, JobStore, Leaving, PoolStore

# Pictures as PNG with their metadata; no 60 generations a minute for the whole gateway; no LoRA residue in the shared
# checkpoint; no download because of a name.
MANAGED_OPTIONS: dict[str, Any] = {
    "samples_format": "png",
    "server_rate_limit": 0,
    "lora_fuse_native": False,
    "sd_checkpoint_autodownload": False,
}
OPTIONS_TIMEOUT_S = 60.0
ANSWER_TIMEOUT_S = 10.0
OK = 200


class Upkeep:
    """Brings a backend into the state the gateway relies on."""

    def __init__(self, client: BackendClient, pool: PoolStore, jobs: JobStore, held: HeldJobs) -> None:
        self._client = client
        self._pool = pool
        self._jobs = jobs
        self._held = held

    async def wrong_options(self, backend: Backend) -> dict[str, Any]:
        """The managed options that have another value there. Raises AttemptFailed."""
        reply = await self._client.get(backend, "/sdapi/v1/options", ANSWER_TIMEOUT_S)
        if reply.status != OK:
            raise AttemptFailed(f"The backend answered {reply.status} when asked for its options.")
        options = decoded(reply.body)
        if not isinstance(options, dict):
            raise AttemptFailed("The backend's options are not an object.")
        return {key: value for key, value in MANAGED_OPTIONS.items() if options.get(key) != value}

    async def set_options(self, backend: Backend) -> bool:
        """Set what is wrong and read it back; False while a job holds the slot, or if it did not take.

        Raises AttemptFailed and StoreUnavailable.
        """
        wrong = await self.wrong_options(backend)
        if not wrong:
            return True
        job_id = f"upkeep-{new_id()}"
        self._held.open(job_id)  # else the next heartbeat takes it for an orphan and gives the slot away
        try:
            return await self._set_under_slot(backend, job_id, wrong)
        finally:
            self._held.close(job_id)

    async def _set_under_slot(self, backend: Backend, job_id: str, wrong: dict[str, Any]) -> bool:
        if not await self._pool.hold(new_id(), job_id, backend.name):
            return False
        try:
            await self._client.post(backend, "/sdapi/v1/options", msgspec.json.encode(wrong), OPTIONS_TIMEOUT_S)
            return not await self.wrong_options(backend)
        finally:
            await self._jobs.leave(Leaving(new_id(), job_id, Outcome.FINISHED))


def decoded(body: bytes) -> Any:  # noqa: ANN401 - JSON of a backend
    """A backend's JSON, None if it is none."""
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError):
        return None
