"""The gateway's own request to a backend that is under suspicion: one that every checkpoint can do."""

from __future__ import annotations

import msgspec

from gateway.domain.backends import Backend
from gateway.domain.replies import is_empty, shows_title
from gateway.ports import BackendClient

LOOK_TIMEOUT_S = 10.0
PROBE_TIMEOUT_S = 120.0
# The checkpoint's own sampler, enough steps for every one of them, and small: nothing in it is a caller's choice.
PROBE = {"prompt": "", "sampler_name": "Default", "steps": 4, "width": 128, "height": 128, "seed": 1}


async def is_poisoned(client: BackendClient, backend: Backend, title: str) -> bool:
    """Whether this checkpoint, loaded there now, makes nothing even of the probe. The slot must be held.

    False where another checkpoint is loaded: loading it heals (observed), and a probe would cost a swap. Raises
    AttemptFailed where the backend does not answer.
    """
    loaded = await client.get(backend, "/sdapi/v1/checkpoint", LOOK_TIMEOUT_S)
    if not shows_title(loaded.body, title):
        return False
    return await makes_nothing(client, backend, title)


async def makes_nothing(client: BackendClient, backend: Backend, title: str) -> bool:
    """Whether the probe comes back without a picture, 200 all the same. The slot must be held. Raises AttemptFailed."""
    body = msgspec.json.encode({**PROBE, "sd_model_checkpoint": title})
    reply = await client.post(backend, "/sdapi/v1/txt2img", body, PROBE_TIMEOUT_S)
    return is_empty(reply.status, reply.body)
