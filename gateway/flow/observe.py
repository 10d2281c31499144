"""What a backend says of itself: what is loaded, how long its process has run, what it does, what it has.

SD.Next answers each of these in milliseconds while it generates or loads (observed). All raise AttemptFailed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from gateway.domain.backends import Backend
from gateway.domain.errors import AttemptFailed
from gateway.domain.options import reported
from gateway.domain.replies import decoded
from gateway.flow.snapshot import LISTS, PublishedInventory, cut_down
from gateway.flow.upkeep import OK
from gateway.ports import BackendClient

ANSWER_TIMEOUT_S = 5.0
LONGEST_UPTIME_S = 1e10
STALE_S = 60.0  # twice a slow swap, in which a healthy backend's progress stands still (observed)


async def loaded_title(client: BackendClient, backend: Backend) -> str | None:
    """The title of what is loaded, "" for nothing (also while it loads), None if it does not say."""
    reply = await client.get(backend, "/sdapi/v1/checkpoint", ANSWER_TIMEOUT_S)
    if reply.status != OK:
        raise AttemptFailed(f"The backend answered {reply.status} when asked for its checkpoint.")
    answer = decoded(reply.body)
    if not isinstance(answer, dict):
        raise AttemptFailed("The backend's checkpoint is not an object.")
    title = answer.get("title")
    if answer.get("type") is None:
        return ""
    return title if isinstance(title, str) else None


async def uptime_s(client: BackendClient, backend: Backend) -> float | None:
    """For how many whole seconds its process has run; None if it does not say."""
    reply = await client.get(backend, "/sdapi/v1/status", ANSWER_TIMEOUT_S)
    status = decoded(reply.body) if reply.status == OK else None
    uptime = status.get("uptime") if isinstance(status, dict) else None
    if isinstance(uptime, bool) or not isinstance(uptime, int | float) or abs(uptime) > LONGEST_UPTIME_S:
        return None
    return float(uptime)


async def progress_of(client: BackendClient, backend: Backend) -> Any:  # noqa: ANN401 - JSON of a backend
    """Its `/progress` without a preview, whatever that is."""
    path = "/sdapi/v1/progress?skip_current_image=true"
    return decoded((await client.get(backend, path, ANSWER_TIMEOUT_S)).body)


async def titles_of(client: BackendClient, backend: Backend) -> list[str]:
    """The titles of the checkpoints it lists."""
    listed = decoded((await client.get(backend, "/sdapi/v1/sd-models", ANSWER_TIMEOUT_S)).body)
    entries = listed if isinstance(listed, list) else []
    titles = (entry.get("title") for entry in entries if isinstance(entry, dict))
    return [title for title in titles if isinstance(title, str) and title]


async def read_lists(
    client: BackendClient, backend: Backend, before: PublishedInventory | None, clock: Callable[[], float]
) -> PublishedInventory:
    """Everything it has, and what it had (`before`) and has no more. `clock` gives the store's time."""
    lists: dict[str, Any] = {}
    for route in LISTS:
        reply = await client.get(backend, f"/sdapi/v1/{route}", ANSWER_TIMEOUT_S)
        lists[route] = cut_down(route, decoded(reply.body)) if reply.status == OK else None
    if not isinstance(lists["sd-models"], list):
        raise AttemptFailed("The backend has no list of checkpoints.")
    if before is not None and len(lists["sd-models"]) < len(before.lists.get("sd-models") or ()):
        await _confirm_shorter(client, backend, lists)
    options = decoded((await client.get(backend, "/sdapi/v1/options", ANSWER_TIMEOUT_S)).body)
    lists["options"] = reported(options)
    is_safe = backend.is_managed or (isinstance(options, Mapping) and options.get("lora_fuse_native") is False)
    return PublishedInventory(lists, is_safe, clock()).after(before, backend.name)


async def _confirm_shorter(client: BackendClient, backend: Backend, lists: dict[str, Any]) -> None:
    """A rescan empties the list for a moment (observed): a shorter one counts when 5 s later it is the same."""
    await asyncio.sleep(ANSWER_TIMEOUT_S)
    reply = await client.get(backend, "/sdapi/v1/sd-models", ANSWER_TIMEOUT_S)
    if cut_down("sd-models", decoded(reply.body)) != lists["sd-models"]:
        raise AttemptFailed("The backend's list of checkpoints is changing.")


def is_idle(progress: object) -> bool:
    """Whether a `/progress` answer says that nothing runs."""
    if not isinstance(progress, dict):
        return False
    state = progress.get("state")
    return isinstance(state, dict) and not state.get("job") and not state.get("job_count")


def identity_of(progress: object) -> tuple[object, ...]:
    """What changes in `/progress` while a job goes on: its id, step and share done."""
    if not isinstance(progress, dict):
        return ()
    state = progress.get("state")
    step = state.get("sampling_step") if isinstance(state, dict) else None
    return progress.get("id"), step, progress.get("progress")
