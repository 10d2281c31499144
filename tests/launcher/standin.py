"""A tiny application in the place of the gateway's, for tests of how processes start and end."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from gateway.settings import Settings


def create_app(settings: Settings) -> Starlette:
    """`/held` answers once a `/release` was received to its last byte; `/seen` tells how many of both have begun."""
    released = asyncio.Event()
    held = []

    @contextlib.asynccontextmanager
    async def lifespan(app):
        yield
        print("closed in order", flush=True)  # noqa: T201 - the test reads it

    async def ready(request: Request) -> Response:
        return Response(status_code=503 if request.app.state.is_draining else 200)

    async def process(request: Request) -> Response:
        shown = {"pid": os.getpid(), "redis_url": settings.redis_url, "metrics_port": settings.metrics_port}
        shown |= {"frozen": gc.get_freeze_count(), "collects_after": gc.get_threshold()[0]}
        return JSONResponse(shown | {"parent": os.getppid(), "client": request.client.host})

    async def hold(request: Request) -> Response:
        held.append(request)
        await released.wait()
        return JSONResponse("released")

    async def seen(request: Request) -> Response:
        return JSONResponse(len(held))

    async def release(request: Request) -> Response:
        held.append(request)
        await request.body()
        released.set()
        return JSONResponse("ok")

    async def fail(request: Request) -> Response:
        request.app.state.end_process("a loop failed too often")
        return JSONResponse("ending")

    paths = {"/readyz": ready, "/process": process, "/held": hold, "/seen": seen, "/release": release, "/fail": fail}
    return Starlette(
        routes=[Route(path, endpoint, methods=["GET", "POST"]) for path, endpoint in paths.items()], lifespan=lifespan
    )


def create_app_whose_start_fails(settings: Settings) -> Starlette:
    @contextlib.asynccontextmanager
    async def lifespan(app):
        raise RuntimeError("the store is not there")
        yield

    return Starlette(lifespan=lifespan)


def create_app_whose_start_takes_for_ever(settings: Settings) -> Starlette:
    @contextlib.asynccontextmanager
    async def lifespan(app):
        print("starting", flush=True)  # noqa: T201
        try:
            await asyncio.Event().wait()
            yield
        finally:
            print("given up in order", flush=True)  # noqa: T201

    return Starlette(lifespan=lifespan)


def create_app_that_cannot_start(settings: Settings) -> Starlette:
    raise RuntimeError("it cannot start")
