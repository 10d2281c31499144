"""Small truthful answers about the server: its flags, version, memory, checkpoint; and calls that change nothing here.

No answer has a secret, a path or a fact of one backend in it. Those that need no key are constants: one client asks for
`/version` and `/config` before it sends its key, and takes a 401 from `/cmd-flags` as the sign to send it.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gateway.api.asking import Asking, as_json
from gateway.api.bodies import discard_body
from gateway.api.limits import count_stranger
from gateway.domain.errors import StoreUnavailable
from gateway.flow.own_view import shown_model
from gateway.flow.rescan import Rescanner
from gateway.flow.serve import Gateway

GIB = 2**30
VERSION = {"app": "sd.next", "updated": "2026-07-23", "branch": "master", "url": "", "kanvas": "main", "ui": "main"}
"""What clients read of an SD.Next: they switch to its ways when `app` is that. The date is of the API served here."""

MEMORY = {
    "ram": {"free": 16 * GIB, "used": 16 * GIB, "total": 32 * GIB},
    "cuda": {
        "system": {"free": 12 * GIB, "used": 12 * GIB, "total": 24 * GIB},
        "active": {"current": 0, "peak": 0},
        "allocated": {"current": 0, "peak": 0},
        "reserved": {"current": 0, "peak": 0},
        "inactive": {"current": 0, "peak": 0},
        "events": {"retries": 0, "oom": 0},
    },
}
"""A constant: one client's sign of life. The pool's memory is nobody's business, and would be another one each time."""

FLAGS = {"api": True, "api_only": False, "listen": True, "port": None, "docs": True, "share": False, "medvram": False}
PLATFORM = {"arch": "", "cpu": "", "system": "", "release": "", "python": ""}

NO_EFFECT = ("reload-checkpoint", "unload-checkpoint")
"""Clients wrap their jobs in these; what is loaded where is the pool's affair."""

REFRESHES = ("refresh-checkpoints", "refresh-loras", "refresh-vae", "refresh-embeddings", "refresh-unets")
"""Each asks for a rescan of the whole pool; all of them together get one a minute."""


class SyntheticRoutes:
    """Handlers that answer without a backend."""

    def __init__(self, gateway: Gateway, rescans: Rescanner) -> None:
        self._asking = Asking(gateway)
        self._gateway = gateway
        self._rescans = rescans
        self._options = gateway.options

    def constant(self, value: object) -> Any:  # noqa: ANN401 - a handler
        """A handler that gives this to every key."""

        async def handle(request: Request) -> Response:
            await self._asking.caller(request)
            return as_json(value)

        return handle

    async def no_effect(self, request: Request) -> Response:
        """200 with an empty object: which model is loaded where is the pool's affair."""
        await self._asking.caller(request)
        await discard_body(request)
        return as_json({})

    async def refresh(self, request: Request) -> Response:
        """200 with an empty object at once; the pool's servers look for new files within a minute."""
        await self._asking.caller(request)
        await discard_body(request)
        with suppress(StoreUnavailable):  # clients call this as they start: the lists are there without a store, too
            await self._rescans.ask()
        return as_json({})

    async def checkpoint(self, request: Request) -> Response:
        """The checkpoint that a call without a name would use, as SD.Next shows the one it has loaded."""
        caller, catalogue = await self._asking.caller_and_catalogue(request)
        name, model = shown_model(caller, catalogue, self._gateway.operator, await self._options.seen(caller))
        if model is None:
            return as_json({"type": None, "class": None, "title": name, "name": name, "hash": None})
        loaded = {"type": model.kind or None, "class": None, "checkpoint": model.file_name, "filename": model.file_name}
        return as_json({**loaded, "title": model.name, "name": model.name, "hash": model.hash or None})

    async def set_checkpoint(self, request: Request) -> Response:
        """As posting the option: `?sd_model_checkpoint=`; how it would be loaded is ignored."""
        caller, catalogue = await self._asking.caller_and_catalogue(request)
        await discard_body(request)
        wanted = request.query_params.get("sd_model_checkpoint", "")
        if wanted:
            await self._options.post(caller, catalogue, self._gateway.operator, {"sd_model_checkpoint": wanted})
        return as_json({"ok": True})


def synthetic_routes(gateway: Gateway, rescans: Rescanner) -> list[tuple[str, str, str, Any]]:
    """(method, name below /sdapi/v1, further name below /v1, handler)."""
    own = SyntheticRoutes(gateway, rescans)
    table: list[tuple[str, str, str, Any]] = [
        ("GET", "cmd-flags", "", own.constant(FLAGS)),
        ("GET", "memory", "", own.constant(MEMORY)),
        ("GET", "platform", "", own.constant(PLATFORM)),
        ("GET", "version", "", _open(VERSION)),
        ("GET", "checkpoint", "", own.checkpoint),
        ("POST", "checkpoint", "", own.set_checkpoint),
    ]
    table += [("POST", name, "", own.refresh) for name in REFRESHES]
    return table + [("POST", name, "", own.no_effect) for name in NO_EFFECT]


def root_routes() -> list[Route]:
    """What clients look for beside /sdapi: constants, without a key."""
    login = _open({"success": True})
    return [
        Route("/config", _open({"version": "3.43.2", "mode": "blocks", "components": [], "dependencies": []})),
        Route("/app_id", _open({"app_id": 0})),
        Route("/internal/ping", _open({})),
        Route("/login", login, methods=["POST"]),
        Route("/login_check", _open({"success": True})),
    ]


def _open(value: dict[str, Any]) -> Any:  # noqa: ANN401 - a handler
    async def handle(request: Request) -> Response:
        count_stranger(request.scope)
        if request.method == "POST":
            await discard_body(request)  # a login form: what is in it is not looked at, every call brings its key
        return as_json(value)

    return handle
