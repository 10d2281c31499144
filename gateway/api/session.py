"""A key's own session with the server: its options, how far its jobs are, and the end of one of them.

Everything here is virtual: no backend is asked, and nothing of another key can be seen, changed or stopped.
"""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gateway.api.asking import Asking, as_json
from gateway.api.bodies import read_hints, read_object
from gateway.domain.progress import as_internal_progress, as_progress, as_status
from gateway.flow.own_jobs import INTERRUPT, SKIP
from gateway.flow.serve import Gateway

_YES = frozenset({"1", "true", "yes", "on"})


class SessionRoutes:
    """Handlers for the key that asks."""

    def __init__(self, gateway: Gateway) -> None:
        self._asking = Asking(gateway)
        self._gateway = gateway

    async def options(self, request: Request) -> Response:
        """The options as this key sees them."""
        caller, catalogue = await self._asking.caller_and_catalogue(request)
        return as_json(await self._gateway.options.view(caller, catalogue, self._gateway.operator))

    async def set_options(self, request: Request) -> Response:
        """Keep what can be kept for this key, and say of each option whether it was."""
        caller, catalogue = await self._asking.caller_and_catalogue(request)
        posted = await read_object(request, caller)
        told = await self._gateway.options.post(caller, catalogue, self._gateway.operator, posted)
        return as_json({"updated": [{name: was_kept} for name, was_kept in told.items()]})

    async def progress(self, request: Request) -> Response:
        """How far this key's job is, with its preview unless `?skip_current_image=true`."""
        caller = await self._asking.caller(request)
        query = request.query_params
        skips = query.get("skip_current_image", "").lower() in _YES
        own = await self._gateway.work.progress(caller, with_preview=not skips, task_id=_task_of(query))
        return as_json(as_progress(own))

    async def status(self, request: Request) -> Response:
        """The same in SD.Next's words."""
        caller = await self._asking.caller(request)
        return as_json(as_status(await self._gateway.work.progress(caller)))

    async def internal_progress(self, request: Request) -> Response:
        """The same as the web page of a real server asks for it; `id_task` names the job."""
        caller = await self._asking.caller(request)
        asked = await read_hints(request, caller)
        preview_id = asked.get("id_live_preview")
        own = await self._gateway.work.progress(
            caller, with_preview=asked.get("live_preview") is not False, task_id=str(asked.get("id_task") or "")
        )
        return as_json(as_internal_progress(own, preview_id if isinstance(preview_id, int) else -1))

    async def pending(self, request: Request) -> Response:
        """The ids of this key's waiting jobs."""
        waiting = await self._gateway.work.pending(await self._asking.caller(request))
        return as_json({"size": len(waiting), "tasks": waiting})

    async def queue(self, request: Request) -> Response:
        """The queue as gradio tells it: this key's jobs only."""
        waiting = await self._gateway.work.pending(await self._asking.caller(request))
        unknown = dict.fromkeys(("rank", "rank_eta", "avg_event_process_time", "avg_event_concurrent_process_time"))
        return as_json({"msg": "estimation", "queue_size": len(waiting), "queue_eta": 0, **unknown})

    def ending(self, wish: str) -> Any:  # noqa: ANN401 - a handler
        """The handler of interrupt or skip: 200 with an empty object, also when there is no job."""

        async def handle(request: Request) -> Response:
            caller = await self._asking.caller(request)
            asked = {**await read_hints(request, caller), **request.query_params}
            await self._gateway.work.end(caller, wish, _task_of(asked))
            return as_json({})

        return handle


def _task_of(asked: Any) -> str:  # noqa: ANN401 - a query or a JSON object
    return str(asked.get("force_task_id") or asked.get("id_task") or "")


def session_routes(gateway: Gateway) -> list[tuple[str, str, str, Any]]:
    """(method, name below /sdapi/v1, further name below /v1, handler)."""
    own = SessionRoutes(gateway)
    return [
        ("GET", "options", "img-options", own.options),
        ("POST", "options", "img-options", own.set_options),
        ("GET", "progress", "", own.progress),
        ("GET", "status", "", own.status),
        ("POST", "interrupt", "", own.ending(INTERRUPT)),
        ("POST", "skip", "", own.ending(SKIP)),
    ]


def page_routes(gateway: Gateway) -> list[Route]:
    """What the web page of a real server asks beside /sdapi."""
    own = SessionRoutes(gateway)
    return [
        Route("/internal/progress", own.internal_progress, methods=["POST"]),
        Route("/internal/pending-tasks", own.pending, methods=["GET"]),
        Route("/queue/status", own.queue, methods=["GET"]),
    ]
